"""Modified Bessel functions of the first kind, of any order and differentiable, which torch has for orders 0 and 1."""

from __future__ import annotations

import functools
import math
from fractions import Fraction

import torch
from torch import Tensor

# Of the expansion for large orders: from this order on, so many terms leave an error of about 1e-10.
LARGE_ORDER, TERMS = 10, 8


def log_bessel(order: float, x: Tensor) -> tuple[Tensor, Tensor]:
    """log(I_v(x) e^-x / x^v), and the ratio I_{v+1}(x) / I_v(x), for order v >= 0 and x >= 0.

    Debye's expansion gives both at an order of at least 10, and the recurrence
    I_{v-1}(x) = I_{v+1}(x) + (2v / x) I_v(x), stable in this direction, leads down to v. Divided by x^v, nothing
    vanishes or overflows: x = 0 needs no case of its own, nor its derivative. In double precision inside.

    Reference:
        Abramowitz, Stegun 1964, "Handbook of mathematical functions", 9.6.26 and 9.7.7.

    Example:
        >>> log_scaled, ratio = log_bessel(0.0, torch.tensor(1.0))
        >>> log_scaled, torch.special.i0e(torch.tensor(1.0)).log(), ratio
        (tensor(-0.7641), tensor(-0.7641), tensor(0.4464))
    """
    y = x.double()
    steps = max(0, math.ceil(LARGE_ORDER - order))
    value = _log_large_order(order + steps, y)
    ratio = (_log_large_order(order + steps + 1, y) - value).exp()  # of orders v + 1 and v, over x
    for i in range(steps, 0, -1):
        ratio = 1 / (2 * (order + i) + y.square() * ratio)
        value = value - ratio.log()
    return value.to(x.dtype), (y * ratio).to(x.dtype)


def _log_large_order(order: float, x: Tensor) -> Tensor:
    s = (order**2 + x.square()).sqrt()
    series = torch.zeros_like(x)
    for coefficient in _series(order):  # Horner's rule, in order / s
        series = series * (order / s) + coefficient
    return order**2 / (s + x) - order * (order + s).log() - 0.5 * (2 * math.pi * s).log() + series.log()


@functools.cache
def _series(order: float) -> list[float]:
    """Coefficients of sum_k u_k(p) / order^k, highest power of p first; u_k by their recurrence, 9.3.10."""
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
    return total[::-1]
