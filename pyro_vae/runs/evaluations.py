"""Evaluations of a run on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ..disk.writing import require_regular
from ..evidence import BidirectionalGap, LogMarginal
from ..evidence.saved import load_arrays
from ..pairs.batch import Points, tensors_of
from .folder import weights_digest
from .new_folder import FIGURES


def save_evaluation(
    folder: Path,
    result: LogMarginal | BidirectionalGap,
    *,
    x: Points,
    about: dict[str, Any],
    name: str = "evaluation",
) -> None:
    """Save log p(x) of data points x, with what it is about (protocol, command, ...), and the weights it belongs to.

    The figures of the evaluation before are removed: they show other numbers.
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


def load_evaluation(folder: Path, name: str = "evaluation") -> tuple[LogMarginal, dict[str, Any]]:
    """The result that `save_evaluation` saved, and what it is about.

    Raises:
        FileNotFoundError: the run has not been evaluated.
        ValueError: a file is damaged, or belongs to other weights.
    """
    estimator = name.removeprefix("evaluation").removeprefix("_")
    cure = f"Run: pyro-vae evaluate {folder}{f' --estimator {estimator}' if estimator else ''}"
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
