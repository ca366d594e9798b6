"""Positive scales from raw numbers."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

SMALLEST = 1e-3  # no component can collapse onto a point
ONE = math.log(math.expm1(1 - SMALLEST))  # the raw number of scale 1


def positive_scale(raw: Tensor) -> Tensor:
    """softplus(raw), moved so that 0 is scale 1, and never below 0.001.

    Example:
        >>> import torch
        >>> positive_scale(torch.tensor([-100.0, 0.0, 2.0]))
        tensor([1.0000e-03, 1.0000e+00, 2.6167e+00])
    """
    return SMALLEST + functional.softplus(raw + ONE)


def scale(raw: Tensor) -> Tensor:
    """A positive scale from a network's output: with a floor, so that densities stay finite; not faster than linear."""
    return 1e-4 + functional.softplus(raw)
