"""Results on disk: arrays of each data point in PATH.npz, and what they are about in PATH.json."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..disk.json_files import read_json, write_json
from ..disk.reading import read_whole
from ..disk.writing import written_whole
from ..pairs.batch import Batch, Points

LARGEST = 2**32  # bytes of all arrays together, unpacked
MEAN = ("log_marginal_nats_per_data_point", "standard_error_over_data_points", "monte_carlo_error")
_OF_A_RESULT = {
    **dict.fromkeys(("bound", "measure", "estimator", "quantity"), str),
    **{key: {str: int} for key in ("sites", "given")},
    "inputs": [str],
}
TYPES: dict[str, Any] = {  # of what is read again from what results are about
    **_OF_A_RESULT,
    **dict.fromkeys(MEAN, (int, float, type(None))),
    **dict.fromkeys(("weights_sha256", "images_sha256", "arrays_sha256", "settings_sha256"), str),
    **dict.fromkeys(("protocol", "evaluation_protocol", "likelihood"), str),
    **dict.fromkeys(("lower", "upper"), _OF_A_RESULT),
    **dict.fromkeys(("bits_per_dim", "bits_per_dim_standard_error"), (int, float, type(None))),
    **dict.fromkeys(("num_data_points", "data_points_with_khat_above_0.7"), int),
    **dict.fromkeys(("estimator_settings", "training"), dict),
    "num_samples": (int, [int, int]),
    "numbers": [int],
}


def save_arrays(path: str | Path, arrays: Mapping[str, Tensor], about: Mapping[str, Any], *, kind: str) -> None:
    """Save arrays as PATH.npz and what they are about as PATH.json, which is written last.

    PATH.json has the digest of PATH.npz: if the writing stops between the two files, they do not agree, and neither is
    taken for a part of the other.
    """
    packed = io.BytesIO()
    np.savez_compressed(packed, allow_pickle=False, **{name: array.cpu().numpy() for name, array in arrays.items()})
    content = packed.getvalue()
    with written_whole(Path(f"{path}.npz")) as file:
        file.write(content)
    digest = hashlib.sha256(content).hexdigest()
    write_json(Path(f"{path}.json"), {**about, "arrays_sha256": digest}, kind=kind)


def load_arrays(path: str | Path, *, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_arrays` has saved: the arrays and what they are about.

    Raises:
        FileNotFoundError: PATH.json or PATH.npz is not there.
        ValueError: one of them is damaged, they do not belong together, or hold results of another kind.
    """
    try:
        about = read_json(Path(f"{path}.json"), kind=kind, types=TYPES)
        content = read_whole(Path(f"{path}.npz"), limit=LARGEST)
        if about["arrays_sha256"] != hashlib.sha256(content).hexdigest():
            raise ValueError(f"{path}.npz is damaged, or of another time than {path}.json")
        unpacked = sum(member.file_size for member in zipfile.ZipFile(io.BytesIO(content)).infolist())
        if unpacked > LARGEST:
            raise ValueError(f"{path}.npz unpacks to {unpacked:,} bytes; at most {LARGEST:,} are read")
        with np.load(io.BytesIO(content), allow_pickle=False) as saved:
            return {name: torch.from_numpy(saved[name]) for name in saved.files}, about
    except FileNotFoundError:
        raise
    except Exception as error:  # of an archive that is none, NumPy and zipfile raise any of a dozen kinds
        raise ValueError(
            f"Expected a saved {kind} in {path}.json and {path}.npz; got an error: {error}. Make it again."
        ) from error


def require_arrays(arrays: Mapping[str, Tensor], each: Sequence[str], optional: Sequence[str]) -> None:
    """Raise a ValueError unless there are these arrays of one number for each data point, and a shared error; bounds
    with fewer samples are named by these numbers, and have errors of their shape."""
    if missing := [name for name in (*each, "shared_error") if name not in arrays]:
        raise ValueError(f"Expected the arrays of log p(x); got none called {', '.join(missing)}.")
    count, of_each = arrays[each[0]].shape[:1], {name: arrays[name] for name in (*each, *optional) if name in arrays}
    if wrong := [name for name, array in of_each.items() if array.shape != count or array.is_complex()]:
        raise ValueError(f"Expected one number for each data point; got other shapes or types in {', '.join(wrong)}.")
    if arrays["shared_error"].numel() != 1:
        raise ValueError(f"Expected one shared error; got {arrays['shared_error'].numel()}.")
    levels, errors = of_prefix("level", arrays), of_prefix("level_error", arrays)
    shapes = ({name: array.shape for name, array in bounds.items()} for bounds in (levels, errors))
    if len({str(shape) for shape in shapes}) > 1 or not all(name.isdecimal() for name in levels):
        raise ValueError(f"Expected bounds by numbers of samples, each with its errors; got {', '.join(levels)}.")


def with_prefix(prefix: str, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Arrays under longer names."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def of_prefix(prefix: str, arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Those arrays whose names begin so, under their shorter names."""
    return {name.removeprefix(f"{prefix}."): array for name, array in arrays.items() if name.startswith(f"{prefix}.")}


def arrays_of(x: Points) -> dict[str, Tensor]:
    """Data points as arrays to save: "x", or "x.NAME" for each input, by number or name."""
    if not isinstance(x, Batch):
        return {"x": x}
    return {f"x.{name.strip('[]')}": entry for name, entry in x.named() if entry is not None}


def points_of(arrays: Mapping[str, Tensor]) -> Points:
    """The data points of `arrays_of`."""
    if "x" in arrays:
        return arrays["x"]
    inputs = of_prefix("x", arrays)
    by_place = [inputs.pop(name) for name in sorted((n for n in inputs if n.isdigit()), key=int)]
    return Batch(by_place, inputs)
