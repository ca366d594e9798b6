"""What .npy and .npz files hold, looked at before it is read."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeVar

import numpy as np
import scipy.sparse

from ..arguments.memory import require_memory

T = TypeVar("T")

MOST_ARRAYS = 1_000  # in one archive
VERSIONS = ((1, 0), (2, 0), (3, 0))  # of the format .npy


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of an .npy (one array, named as the file) or .npz file.

    Raises:
        ValueError: the file is truncated, no NumPy file, holds Python objects, or more than memory can.
    """
    sizes = _each_array(path, _declared_size)
    require_memory(sum(sizes.values()), path)
    return _each_array(path, _read_array)


def _each_array(path: Path, read: Callable[[IO[bytes], int], T]) -> dict[str, T]:
    """What is read of each array, from its beginning and the number of its bytes."""
    try:
        if not zipfile.is_zipfile(path):
            with path.open("rb") as file:
                return {path.stem: read(file, path.stat().st_size)}
        found = {}
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MOST_ARRAYS or len(members) > len({member.filename for member in members}):
                raise ValueError(f"{len(members):,} arrays; at most {MOST_ARRAYS:,} are read, each of another name")
            for member in members:
                with archive.open(member) as file:
                    found[member.filename.removesuffix(".npy")] = read(file, member.file_size)
        return found
    except Exception as error:  # a broken file makes NumPy and zipfile raise any of a dozen kinds
        raise ValueError(
            f"Expected a complete NumPy file of plain numbers at {path}; got an error: {error}. "
            "Copy or save it again, with np.save or np.savez."
        ) from error


def _declared_size(file: IO[bytes], size: int) -> int:
    """Number of values that the header of an .npy file claims; long ones, such as words, count as several."""
    shape, kind = _header(file, size)
    return math.prod(shape) * max(1, kind.itemsize // 4)


def _header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], np.dtype]:
    """Shape and type of the array in an .npy file of so many bytes, which stands at its first value then."""
    version = np.lib.format.read_magic(file)
    if version not in VERSIONS:
        raise ValueError(f"version {version} of the format, which is none of {', '.join(map(str, VERSIONS))}")
    start = file.tell()
    length = int.from_bytes(file.read(2 if version == (1, 0) else 4), "little")
    if length > size:
        raise ValueError("its header is not whole")
    file.seek(start)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(file)
    if kind.hasobject:
        raise ValueError("Object arrays hold Python objects, which are never read")
    return shape, kind


def _read_array(file: IO[bytes], size: int) -> np.ndarray:
    shape, kind = _header(file, size)
    declared, there = math.prod(shape) * kind.itemsize, size - file.tell()
    if declared != there:
        wrong = "the array is not whole" if declared > there else "something follows the array, such as a second one"
        raise ValueError(f"{wrong}: {there:,} bytes, of which its header declares {declared:,}")
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def read_sparse(path: Path) -> np.ndarray:
    """The matrix that SciPy saved in a file, whose arrays have been read already, as an array (N, D)."""
    try:
        matrix = scipy.sparse.load_npz(path)
        if hasattr(matrix, "check_format"):
            matrix.check_format(full_check=True)  # indices outside the shape would be written to, outside the array
    except Exception as error:  # of a broken file SciPy raises what its constructors do
        raise ValueError(
            f"Expected a whole sparse matrix in {path}; got an error: {error}. Save it again by scipy.sparse.save_npz."
        ) from error
    require_memory(math.prod(matrix.shape), path)
    return matrix.toarray()
