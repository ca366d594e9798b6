"""Means that a distribution can reach, and parameters with which it has a given mean."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor


def inner(mean: Tensor, *, edge: float = 1e-3) -> Tensor:
    """A mean in [0, 1], moved inside: a value that has always been 0 in the data may still become 1."""
    return mean.clamp(edge, 1 - edge)


def log_mean(mean: Tensor) -> Tensor:
    """The logarithm of mean counts, at least 0.001."""
    return mean.clamp(min=1e-3).log()


@torch.no_grad()
def invert(mean_of: Callable[[Tensor], Tensor], mean: Tensor, bound: float) -> Tensor:
    """h with mean_of(h) = mean, mean_of increasing from (N,) to (N,), by interpolation between -bound and bound.

    Means that are not reached there give the nearer end.

    Example:
        >>> invert(torch.tanh, torch.tensor([0.5, 1.0]), bound=3.0)  # atanh(0.5), and the end
        tensor([0.5493, 3.0000])
    """
    h = torch.linspace(-bound, bound, 2001, dtype=torch.float64)
    found = np.interp(mean.double().cpu().numpy(), mean_of(h).numpy(), h.numpy())
    return torch.as_tensor(found, dtype=mean.dtype, device=mean.device)
