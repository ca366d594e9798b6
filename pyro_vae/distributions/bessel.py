"""Modified Bessel functions of the first kind, of any order and differentiable, which torch has for orders 0 and 1.

Reference:
    Abramowitz, Stegun 1964, "Handbook of mathematical functions", 9.6.26, 9.7.7 and 9.3.10.
"""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# Of the expansion for large orders: from this order on, so many terms leave an error of about 1e-10.
LARGE_ORDER, TERMS = 10, 8


def log_bessel(order: float, x: Tensor) -> Tensor:
    """log(I_v(x) e^-x / x^v) for order v >= 0 and x >= 0, which is finite at 0 too; knows its first derivative.

    Example:
        >>> log_bessel(0.0, torch.tensor(1.0)), torch.special.i0e(torch.tensor(1.0)).log()
        (tensor(-0.7641), tensor(-0.7641))
    """
    return _LogBessel.apply(order, x)


def bessel_ratio(order: float, x: Tensor) -> Tensor:
    """I_{v+1}(x) / I_v(x), from 0 at x = 0 towards 1; for dimension D = 2v + 2, the A_D(x) of directional statistics.

    Example:
        >>> bessel_ratio(0.5, torch.tensor(2.0)), 1 / torch.tensor(2.0).tanh() - 1 / 2  # in three dimensions
        (tensor(0.5373), tensor(0.5373))
    """
    return (x.double() * _log_and_ratio(order, x.double())[1]).to(x.dtype)


class _LogBessel(torch.autograd.Function):
    """`log_bessel` with its derivative, I_{v+1}(x) / I_v(x) - 1, much shorter than what autograd would record."""

    @staticmethod
    def forward(ctx: Any, order: float, x: Tensor) -> Tensor:
        value, ratio = _log_and_ratio(order, x.double())
        ctx.save_for_backward((x.double() * ratio - 1).to(x.dtype))
        return value.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *outer: Tensor) -> Any:
        return None, outer[0] * ctx.saved_tensors[0]


def _log_and_ratio(order: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """log(I_v(x) e^-x / x^v) and I_{v+1}(x) / (x I_v(x)), x in double precision.

    Debye's expansion gives both at an order of at least 10, and the recurrence
    I_{v-1}(x) = I_{v+1}(x) + (2v / x) I_v(x), stable in this direction, leads down to v. Divided by x^v, nothing
    vanishes or overflows: x = 0 needs no case of its own.
    """
    steps = max(0, math.ceil(LARGE_ORDER - order))
    value = _log_large_order(order + steps, x)
    ratio = (_log_large_order(order + steps + 1, x) - value).exp()
    for i in range(steps, 0, -1):
        ratio = 1 / (2 * (order + i) + x.square() * ratio)
        value = value - ratio.log()
    return value, ratio


def _log_large_order(order: float, x: Tensor) -> Tensor:
    s = (order**2 + x.square()).sqrt()
    series = (order / s)[..., None] ** torch.arange(3 * TERMS + 1, device=x.device) @ x.new_tensor(_series(order))
    return order**2 / (s + x) - order * (order + s).log() - 0.5 * (2 * math.pi * s).log() + series.log()


@functools.cache
def _series(order: float) -> list[float]:
    """Coefficients of sum_k u_k(p) / order^k, p^0 first; u_k by their recurrence."""
    total = [0.0] * (3 * TERMS + 1)
    u = [Fraction(1)]
    for k in range(TERMS + 1):
        for power, coefficient in enumerate(u):
            total[power] += float(coefficient) / order**k
        following = [Fraction(0)] * (len(u) + 3)
        for power, coefficient in enumerate(u):
            following[power + 1] += coefficient * power / 2 + coefficient / (8 * (power + 1))
            following[power + 3] -= coefficient * power / 2 + 5 * coefficient / (8 * (power + 3))
        u = following
    return total
