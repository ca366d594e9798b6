"""Arrays of other libraries as torch tensors: NumPy, SciPy's sparse ones, data frames, annotated data."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

CURES = {
    "O": "Convert it with .astype(float) or .to_numpy(dtype=float); pad sequences of different lengths to one, and "
    "give their lengths beside them, (padded, lengths).",
    **dict.fromkeys("US", "Replace categories by whole numbers."),
    "c": "Give real and imaginary parts as two values, np.stack([x.real, x.imag], -1).",
    "V": "Give its fields as entries of a dict.",
    **dict.fromkeys("Mm", "Give times as numbers, such as seconds since the first."),
}


class Home(NamedTuple):
    """Where a pair's parameters live: what arrays become, that know nothing of torch.

    Attributes:
        dtype: of their floating-point numbers; None to leave them in their own.
        device: where they are put.
    """

    dtype: torch.dtype | None = None
    device: torch.device = torch.device("cpu")

    def taking(self, values: Tensor) -> Tensor:
        """Values in this dtype, if they are floating-point and none is too large for it, on this device."""
        if self.dtype is None or not values.is_floating_point():
            return values.to(self.device)
        moved = values.to(self.device, self.dtype)
        smaller = values.dtype.itemsize > self.dtype.itemsize and not moved.sum().isfinite()  # only then count
        if smaller and (lost := int(moved.isinf().sum() - values.isinf().sum())):
            raise ValueError(f"Expected numbers that {self.dtype} can hold; got {lost:,} larger ones. Scale them.")
        return moved


def array_behind(x: Any) -> Any:
    """The array of numbers that a container holds: a NumPy array, rows of a sparse matrix, or what is read like one.

    Data frames, series and Arrow's tables give their values (``to_numpy()``), annotated data (AnnData) their matrix
    ``X``; None stands for what holds no array.
    """
    if callable(getattr(x, "to_pandas", None)) and hasattr(x, "schema"):  # a table of Arrow
        x = x.to_pandas()
    if callable(getattr(x, "to_numpy", None)):
        x = _numbers_of(x)
    if is_annotated(x):
        x = x.X
    if callable(getattr(x, "tocsr", None)):
        return x.tocsr()
    if all(hasattr(x, name) for name in ("shape", "dtype", "__getitem__")) and not isinstance(x, Tensor):
        return x
    return None


def is_annotated(x: Any) -> bool:
    """Whether x is a matrix with a table of its rows or columns, as AnnData is, and its ``raw``."""
    return hasattr(x, "X") and (hasattr(x, "obs") or hasattr(x, "var"))


def _numbers_of(frame: Any) -> Any:
    """The values of a data frame or a series; NaN for what is missing in columns that mark it (pandas' Int64, say)."""
    array, types = frame.to_numpy(), _column_types(frame)
    if array.dtype.kind != "O" or not types or any(kind not in "biuf" for kind in types.values()):
        return array
    whole = all(kind in "iu" for kind in types.values()) and not frame.isna().to_numpy().any()
    return frame.to_numpy(dtype=np.int64) if whole else frame.to_numpy(dtype=np.float64, na_value=np.nan)


def _column_types(frame: Any) -> dict[str, str]:
    """The kinds of number in the columns of pandas' frames, by name, as NumPy says them; of a series, its own."""
    if hasattr(frame, "columns") and hasattr(frame, "dtypes"):
        return {str(name): getattr(t, "kind", "") for name, t in zip(frame.columns, frame.dtypes, strict=True)}
    return {str(getattr(frame, "name", "")): getattr(getattr(frame, "dtype", None), "kind", "")}


def _cure(container: Any, kind: str) -> str:
    """What to do with an array of no numbers."""
    if hasattr(container, "cat"):  # a series of categories
        return "Give the numbers of its categories, .cat.codes."
    others = [name for name, k in _column_types(container).items() if k not in "biuf"]
    if hasattr(container, "columns") and others:
        shown = ", ".join(map(repr, others[:5]))
        return f"Columns such as {shown} hold none: leave them out, or replace categories by whole numbers."
    return CURES.get(kind, "Convert it to numbers.")


def check_array(name: str, array: Any, container: Any = None) -> None:
    """Refuse, by a TypeError, an array of no plain real numbers, or a masked one; ``container`` is what it is of."""
    dtype = np.dtype(array.dtype)
    if isinstance(array, np.ma.MaskedArray):
        raise TypeError(
            f"Expected {name} to hold a number everywhere; got a masked array. Give array.filled(np.nan), with "
            f"Masked(likelihood) for what is missing, or array.data."
        )
    if dtype.kind not in "biuf":
        raise TypeError(
            f"Expected {name} to hold real numbers; got an array of {dtype}. {_cure(container, dtype.kind)}"
        )


class Rows:
    """An array (N, ...) that stays where it is, on disk or sparse, and becomes tensors by rows: ``rows[indices]``.

    Args:
        array: a NumPy array, a sparse matrix in CSR format, or what takes sorted indices, such as a data set of h5py.
        home: what the rows become.

    Example:
        >>> Rows(np.arange(6.0).reshape(3, 2), Home(torch.float32))[torch.tensor([2, 0])]
        tensor([[4., 5.],
                [0., 1.]])
    """

    def __init__(self, array: Any, home: Home) -> None:
        self.array, self.home = array, home
        self.shape, self.device = torch.Size(array.shape), home.device

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """The rows with these indices, all in [0, N), as a tensor in memory of its own."""
        if isinstance(rows, slice):
            return self.home.taking(to_tensor(self._read(rows)))
        wanted = rows.cpu().numpy()
        if isinstance(self.array, np.ndarray) or hasattr(self.array, "toarray"):
            return self.home.taking(to_tensor(self._read(wanted)))
        increasing, places = np.unique(wanted, return_inverse=True)  # files are read from front to back
        return self.home.taking(to_tensor(self._read(increasing)[places]))

    def _read(self, rows: Any) -> np.ndarray:
        found = self.array[rows]
        return np.asarray(found.toarray() if hasattr(found, "toarray") else found)


def to_tensor(array: np.ndarray) -> Tensor:
    """A NumPy array as a tensor with the same numbers, in memory of its own unless it can share it safely.

    Raises:
        ValueError: whole numbers beyond those of int64.

    Example:
        >>> to_tensor(np.array([1, 2], dtype=">u2"))
        tensor([1, 2])
    """
    is_label = array.ndim == 1 and array.dtype.kind in "iu"  # one whole number each, which torch looks up as int64
    if is_label or (array.dtype.kind == "u" and array.dtype.itemsize > 1):  # of which torch has no arithmetic
        if array.dtype.kind == "u" and array.dtype.itemsize == 8 and array.max(initial=0) > np.iinfo(np.int64).max:
            raise ValueError("Expected whole numbers below 2^63; got larger ones. Convert them with .astype(float).")
        array = array.astype(np.int64, copy=False)
    elif array.dtype.itemsize > 8:
        array = array.astype(np.float64)
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        array = array.copy()
    return torch.from_numpy(array)
