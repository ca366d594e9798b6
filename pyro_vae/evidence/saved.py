"""Results on disk: arrays of each data point in PATH.npz, and what they are about in PATH.json."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
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
        about = read_json(Path(f"{path}.json"), kind=kind)
        content = read_whole(Path(f"{path}.npz"), limit=LARGEST)
        if about["arrays_sha256"] != hashlib.sha256(content).hexdigest():
            raise ValueError(f"{path}.npz is damaged, or of another time than {path}.json")
        unpacked = sum(member.file_size for member in zipfile.ZipFile(io.BytesIO(content)).infolist())
        if unpacked > LARGEST:
            raise ValueError(f"{path}.npz unpacks to {unpacked:,} bytes; at most {LARGEST:,} are read")
        with np.load(io.BytesIO(content), allow_pickle=False) as saved:
            return {name: torch.from_numpy(saved[name]) for name in saved.files}, about
    except (ValueError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"Expected a saved {kind} in {path}.json and {path}.npz; got an error: {error}. Make it again."
        ) from error


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
