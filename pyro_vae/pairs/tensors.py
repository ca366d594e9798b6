"""What data may be given as."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def require_tensor(x: Any, *, what: str) -> None:
    """Raise a TypeError unless x is a dense tensor with data points along its first dimension."""
    if isinstance(x, Tensor) and x.layout is torch.strided and x.dim() > 0:
        return
    got = f"{type(x).__module__}.{type(x).__name__}".removeprefix("builtins.")
    if isinstance(x, Tensor):
        got = f"layout {x.layout}, shape {tuple(x.shape)}"
    cure = "Convert it with torch.as_tensor, torch.stack or .to_dense(), or load it with pyro_vae.data.load."
    if hasattr(x, "splits"):
        cure = "Give one of its splits, such as .test."
    raise TypeError(f"Expected {what} to be a dense torch tensor of shape (N, ...); got {got}. {cure}")
