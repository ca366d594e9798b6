"""What data may be given as."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def require_tensor(x: Any, *, what: str) -> None:
    """Raise a TypeError unless x is a dense tensor with data points along its first dimension."""
    if not isinstance(x, Tensor):
        cure = "Convert it with torch.as_tensor or torch.stack, or load it with pyro_vae.data.load."
        if hasattr(x, "splits"):
            cure = "Give one of its splits, such as .test."
        raise TypeError(f"Expected {what} to be a torch tensor of shape (N, ...); got {_described(x)}. {cure}")
    if x.layout is not torch.strided or x.dim() == 0:
        got = "shape ()" if x.dim() == 0 else f"layout {x.layout}"
        cure = "Give the data points a dimension." if x.dim() == 0 else "Convert it with .to_dense()."
        raise TypeError(f"Expected {what} to be a dense tensor of shape (N, ...); got {got}. {cure}")


def _described(x: Any) -> str:
    kind = type(x)
    module = kind.__module__.split(".")[0]
    return f"a {kind.__name__}" if module == "builtins" else f"a {kind.__name__} of {module}"
