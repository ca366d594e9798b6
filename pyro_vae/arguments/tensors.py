"""Data that must be a torch tensor."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def require_tensor(name: str, x: Any) -> Tensor:
    """Return x, a dense tensor of at least one data point along its first dimension.

    Raises:
        TypeError: x is something else.
        ValueError: x has no dimension, or is empty.

    Example:
        >>> require_tensor("x", [0.0, 1.0])
        Traceback (most recent call last):
        ...
        TypeError: Expected x to be a dense torch tensor (N, ...); got list. Use torch.as_tensor(x).
    """
    if not isinstance(x, Tensor) or x.layout is not torch.strided:
        got = f"{type(x).__module__}.{type(x).__name__}".removeprefix("builtins.")
        cure = f"Use torch.as_tensor({name})."
        if isinstance(x, Tensor):
            got, cure = f"layout {x.layout}", f"Use {name}.to_dense()."
        elif hasattr(x, "splits"):
            cure = f"Use one of its splits, such as {name}.test."
        raise TypeError(f"Expected {name} to be a dense torch tensor (N, ...); got {got}. {cure}")
    if x.dim() == 0 or len(x) == 0:
        raise ValueError(f"Expected {name} to hold at least one data point, (N, ...); got shape {tuple(x.shape)}.")
    return x
