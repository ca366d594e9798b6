"""Positive scales and rates from raw numbers."""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional

LEAST = 1e-3  # no component can collapse onto a point
ONE = math.log(math.expm1(1 - LEAST))  # the raw number of scale 1


def positive_scale(raw: Tensor, least: float = 1e-4) -> Tensor:
    """least + softplus(raw): never so small that densities overflow, and no faster than linear for large numbers."""
    return least + functional.softplus(raw)


def unit_scale(raw: Tensor) -> Tensor:
    """A positive scale that is 1 for a raw number of 0, and never below 0.001.

    Example:
        >>> import torch
        >>> unit_scale(torch.tensor([-100.0, 0.0, 2.0]))
        tensor([1.0000e-03, 1.0000e+00, 2.6167e+00])
    """
    return positive_scale(raw + ONE, LEAST)


def bounded_exp(log_value: Tensor, *, bound: float = 15.0) -> Tensor:
    """exp, with its argument kept between -bound and bound: rates from 3e-7 to 3e6, all of them safe in float32."""
    return log_value.clamp(-bound, bound).exp()
