"""Data that must be a torch tensor."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def require_tensor(name: str, x: Any) -> Tensor:
    """Return x, a tensor of at least one data point.

    Raises:
        ValueError: x is something else, has no dimension, or is empty.

    Example:
        >>> require_tensor("x", [0.0, 1.0])
        Traceback (most recent call last):
        ...
        ValueError: Expected x to be a torch tensor (N, ...); got a list. Use torch.as_tensor(x).
    """
    if not isinstance(x, Tensor):
        cure = f"Use {name}.test, or another of its tensors." if hasattr(x, "test") else f"Use torch.as_tensor({name})."
        raise ValueError(f"Expected {name} to be a torch tensor (N, ...); got a {type(x).__name__}. {cure}")
    if x.dim() == 0 or len(x) == 0:
        raise ValueError(f"Expected {name} to hold at least one data point, (N, ...); got shape {tuple(x.shape)}.")
    return x
