"""Data that must be a torch tensor, or become one."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .rows import Home, Rows, array_behind, check_array, is_annotated, to_tensor


def require_tensor(name: str, x: Any) -> Tensor:
    """Return x, a dense tensor of at least one data point along its first dimension.

    Raises:
        TypeError: x is something else.
        ValueError: x has no dimension, or is empty.

    Example:
        >>> require_tensor("x", [0.0, 1.0])
        Traceback (most recent call last):
        ...
        TypeError: Expected x to be a tensor or an array of numbers (N, ...); got list. Use torch.as_tensor(x).
    """
    if not isinstance(x, Tensor) or x.layout is not torch.strided:
        got = f"{type(x).__module__}.{type(x).__name__}".removeprefix("builtins.")
        cure = f"Use torch.as_tensor({name})."
        if isinstance(x, Tensor):
            got, cure = f"layout {x.layout}", f"Use {name}.to_dense()."
        elif isinstance(x, str):
            cure = "Use pyro_vae.data.load to read a file."
        elif hasattr(x, "splits"):
            cure = f"Use what one of its splits is called with, such as {name}.given('test')."
        elif isinstance(x, list) and x and isinstance(x[0], str):
            got, cure = "a list of texts", "Leave it out, or replace categories by whole numbers."
        elif is_annotated(x):
            got, cure = f"{got} without a matrix X", f"Give one of its layers, such as {name}.layers['counts']."
        elif not isinstance(x, list | tuple) and hasattr(x, "__getitem__") and hasattr(x, "__len__"):
            cure = f"Give its numbers as an array, np.asarray({name}[:])."
        raise TypeError(f"Expected {name} to be a tensor or an array of numbers (N, ...); got {got}. {cure}")
    if x.is_complex():
        raise TypeError(f"Expected {name} to hold real numbers; got {x.dtype}. Use torch.view_as_real({name}).")
    _check_length(name, x)
    return x


def tensor_or_rows(name: str, x: Any, home: Home) -> Tensor | Rows:
    """Data as a tensor (N, ...), or as `Rows` where they are on disk or sparse.

    A tensor stays as it is. Of arrays, floating-point numbers take the home's dtype; whole numbers and truth values
    stay what they are: counts, grey levels of 8 bits; one whole number for each data point becomes int64, by which
    torch looks labels up. The tensor may share its memory.

    Raises:
        TypeError: x is something else, or holds no real numbers.
        ValueError: x has no dimension, or is empty; numbers too large for the dtype.
    """
    array = array_behind(x)
    if array is None:
        return require_tensor(name, x)
    check_array(name, array, x)
    _check_length(name, array)
    if not isinstance(array, np.ndarray) or isinstance(array, np.memmap):
        return Rows(array, home)
    return home.taking(to_tensor(np.asarray(array)))


def is_array(x: Any) -> bool:
    """Whether x holds numbers that `tensor_or_rows` could take."""
    return isinstance(x, Tensor) or is_annotated(x) or array_behind(x) is not None


def _check_length(name: str, x: Any) -> None:
    if len(x.shape) == 0 or x.shape[0] == 0:
        raise ValueError(f"Expected {name} to hold at least one data point, (N, ...); got shape {tuple(x.shape)}.")
