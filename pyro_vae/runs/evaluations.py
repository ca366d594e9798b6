"""Evaluations of a run on disk, each under a name that says what was evaluated, so that none takes another's place."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..disk.json_files import read_json
from ..disk.writing import require_regular
from ..evidence import BidirectionalGap, LogMarginal
from ..evidence.saved import MEAN, TYPES, load_arrays
from ..pairs.batch import Points, tensors_of
from .folder import weights_digest
from .new_folder import FIGURES

NEEDED = {*MEAN, "num_samples", "data_points_with_khat_above_0.7", "num_data_points", "protocol", "images_sha256"}


def evaluation_name(estimator: str, samples: int | None, points: int, *, of: int, others: Mapping[str, Any]) -> str:
    """The name of an evaluation's files: estimator, samples (or chains), data points, and what is not as by default.

    Args:
        estimator: as the command line has it.
        samples: for each data point; None where the estimator counts none.
        points: data points.
        of: how many there are.
        others: settings that are not as by default.

    Example:
        >>> evaluation_name("auto", 1000, 300, of=300, others={})
        'evaluation_auto_1000x300'
        >>> evaluation_name("guide", 5000, 50, of=300, others={"seed": 1, "widen": 1.1})
        'evaluation_guide_5000x50of300__seed-1__widen-1.1'
    """
    which = f"{points}" if points == of else f"{points}of{of}"
    words = [re.sub(r"[^\w.+-]+", "-", f"{name}-{value}") for name, value in others.items()]
    return "__".join([f"evaluation_{estimator}_{'' if samples is None else f'{samples}x'}{which}", *words])


def save_evaluation(
    folder: Path,
    result: LogMarginal | BidirectionalGap,
    name: str,
    *,
    x: Points,
    about: dict[str, Any],
) -> None:
    """Save log p(x) of data points x, with what it is about (protocol, command, ...), and the weights it belongs to.

    The figures of one before, of the same name, are removed: they may show other numbers.
    """
    for figure in (folder / f"{name}{suffix}" for suffix in FIGURES):
        require_regular(figure)
        figure.unlink(missing_ok=True)
    about = {"images_sha256": digest(x), "weights_sha256": weights_digest(folder), **about}
    result.save(folder / name, about)


def digest(x: Points) -> str:
    """SHA-256 of the values of all data points."""
    sha256 = hashlib.sha256()
    for tensor in tensors_of(x):
        sha256.update(tensor.cpu().contiguous().numpy().tobytes())
    return sha256.hexdigest()


def evaluations_of(folder: Path) -> dict[str, dict[str, Any]]:
    """The whole estimates of log p(x) for the weights of a run, by name, each with what it is about; the largest last.

    What is damaged, or belongs to other weights, is left out.
    """
    found = {}
    for path in sorted(folder.glob("evaluation_*.json")):
        with contextlib.suppress(ValueError):
            about = read_json(path, kind="LogMarginal", types=TYPES)
            whole = about.keys() >= NEEDED and path.with_suffix(".npz").is_file()
            if whole and about["weights_sha256"] == weights_digest(folder):
                found[path.stem] = about
    return dict(sorted(found.items(), key=lambda item: _size(item[1])))


def what_resuming_removes(folder: Path) -> str:
    """A line that names the evaluations of a state that further training will replace; nothing where there are none."""
    names = [*evaluations_of(folder)] if (folder / "run.json").exists() else []
    return f"\n       removes {', '.join(names)}, of the state so far, when it ends" if names else ""


def in_a_line(about: Mapping[str, Any]) -> str:
    """log p(x) of an evaluation with its errors, its numbers of data points and samples, and what speaks against it."""
    mean, spread, noise = (about[name] for name in MEAN)
    errors = "" if spread is None else f" +- {spread:.3f} over data points"
    errors += "" if noise is None else f", +- {noise:.3f} Monte Carlo"
    samples = about["num_samples"]
    count = f"{samples[0]:,} to {samples[-1]:,}" if isinstance(samples, list) else f"{samples:,}"
    doubtful = about["data_points_with_khat_above_0.7"]
    doubt = f"; k-hat above 0.7 for {doubtful:,} of them" if doubtful else ""
    value = "not finite" if mean is None else f"{mean:.3f}{errors}, nats per data point"
    return f"{value}; {count} samples for each of {about['num_data_points']:,} data points{doubt}"


def _size(about: Mapping[str, Any]) -> tuple[int, int]:
    """Data points, and samples for each."""
    samples = about["num_samples"]
    return about["num_data_points"], max(samples) if isinstance(samples, list) else samples


def load_evaluation(folder: Path, name: str) -> tuple[LogMarginal, dict[str, Any]]:
    """The result that `save_evaluation` saved, and what it is about.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: a file is damaged, or belongs to other weights.
    """
    cure = f"Run: pyro-vae evaluate {folder}"
    path = folder / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"Expected an evaluated run; {folder} has no {name}.json. {cure}")
    try:
        arrays, about = load_arrays(folder / name, kind="LogMarginal")
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(f"{error} {cure}") from error
    if about["weights_sha256"] != weights_digest(folder):
        raise ValueError(f"Expected an evaluation of the weights in {folder}; {path} is one of other weights. {cure}")
    return LogMarginal.from_arrays(arrays, about=about), about
