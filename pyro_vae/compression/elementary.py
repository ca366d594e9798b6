"""exp, log and their like of the operations that IEEE 754 defines to the last bit: the same on every machine.

Libraries compute exp differently in the last bit, by processor, version and place in the array. Sums, products,
quotients and roots of float64 are rounded correctly everywhere, if each is an operation of its own; NumPy's are. These
functions are made of them alone and right to 1e-12, relative.
"""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LOG2_E = 1.4426950408889634
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10  # the first has 20 zero bits: k * LN2_HIGH is exact
LARGEST = 708.0  # exp of it, and of its negative, are normal numbers
CELLS = 512  # in a unit of a distribution function's argument


def exp(x: Floats) -> Floats:
    """e^x; 0 below -708, infinite above 708."""
    k = np.rint(np.clip(np.nan_to_num(x, nan=0.0), -LARGEST, LARGEST) * LOG2_E)
    r = (np.clip(x, -LARGEST, LARGEST) - k * LN2_HIGH) - k * LN2_LOW  # |r| < 0.35
    power = ((k.astype(np.int64) + 1023) << 52).view(np.float64)  # 2^k, by its bits
    found = power * _taylor(r, 10)
    return np.where(x < -LARGEST, 0.0, np.where(x > LARGEST, np.inf, found))


def expm1(x: Floats) -> Floats:
    """e^x - 1, also near 0."""
    small = np.clip(x, -0.35, 0.35)
    return np.where(np.abs(x) < 0.35, small * _taylor(small, 10, shift=1), exp(x) - 1)


def log(x: Floats) -> Floats:
    """Natural logarithm; -infinity at 0, NaN below."""
    mantissa, exponent = np.frexp(np.where((x > 0) & np.isfinite(x), x, 1.0))
    low = mantissa < 0.7071067811865476
    mantissa, exponent = np.where(low, 2 * mantissa, mantissa), exponent - low
    found = exponent * LN2_HIGH + (exponent * LN2_LOW + _log_ratio((mantissa - 1) / (mantissa + 1)))
    return np.where(x > 0, np.where(np.isinf(x), np.inf, found), np.where(x == 0, -np.inf, np.nan))


def log1p(x: Floats) -> Floats:
    """log(1 + x), also near 0."""
    small = np.clip(x, -0.25, 0.25)
    return np.where(np.abs(x) < 0.25, _log_ratio(small / (2 + small)), log(1 + x))


def sigmoid(x: Floats) -> Floats:
    """1 / (1 + e^-x)."""
    e = exp(-np.abs(x))
    return np.where(x < 0, e, 1.0) / (1 + e)


def tanh(x: Floats) -> Floats:
    """The hyperbolic tangent."""
    e = expm1(-2 * np.abs(x))
    return np.sign(x) * (-e / (2 + e))


def softplus(x: Floats) -> Floats:
    """log(1 + e^x)."""
    return np.maximum(x, 0.0) + log1p(exp(-np.abs(x)))


def erf(x: Floats) -> Floats:
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x."""
    t = np.clip(np.abs(x), 0.0, 6.0)
    term = t * (2 / math.sqrt(math.pi)) * exp(-t * t)
    total = term
    for n in range(1, 120):  # all terms are positive
        term = term * (2 * t * t) / (2 * n + 1)
        total = total + term
    return np.sign(x) * np.where(t > 5.9, 1.0, total)


def softmax(x: Floats, axis: int) -> Floats:
    """e^x over its sum."""
    e = exp(x - x.max(axis, keepdims=True))
    return e / in_order(e, axis)


def in_order(x: Floats, axis: int) -> Floats:
    """The sum over an axis that stays, term by term."""
    return np.add.accumulate(x, axis).take([-1], axis)


def _taylor(x: Floats, degree: int, shift: int = 0) -> Floats:
    """sum_n x^n / (n + shift)!, up to the degree."""
    total = np.full_like(x, 1 / math.factorial(degree + shift))
    for n in range(degree - 1, -1, -1):
        total = total * x + 1 / math.factorial(n + shift)
    return total


def _log_ratio(s: Floats) -> Floats:
    """log((1 + s) / (1 - s)) for small s."""
    square = s * s
    total = np.full_like(s, 2 / 17)
    for n in range(15, 0, -2):
        total = total * square + 2 / n
    return total * s


def cdf(family: str, t: Floats) -> Floats:
    """The distribution function of a standard "normal", "logistic" or "laplace" variable: exactly 0 and 1 far out.

    Linear between 512 values in each unit, so that it never falls, whatever is rounded: sums of positive numbers, and
    of their parts. Off by at most 2e-6.
    """
    reach, table = _table(family)
    place = np.clip((t + reach) * CELLS, 0, 2 * reach * CELLS)
    cell = place.astype(np.int64)
    left = table.take(cell)
    return left + (place - cell) * (table.take(cell + 1) - left)


@functools.cache
def _table(family: str) -> tuple[int, Floats]:
    """How far out there is mass, and the distribution function up to there, multiples of 2^-40; the 1 twice."""
    reach = 8 if family == "normal" else 32
    t = np.arange(-reach * CELLS, reach * CELLS + 1) / CELLS
    if family == "normal":
        values = (1 + erf(t * math.sqrt(0.5))) / 2
    elif family == "logistic":
        values = sigmoid(t)
    else:
        values = np.where(t < 0, 0.5 * exp(-np.abs(t)), 1 - 0.5 * exp(-np.abs(t)))
    table = np.maximum.accumulate(np.rint(values * 2**40) / 2**40)
    table[0], table[-1] = 0.0, 1.0
    return reach, np.append(table, 1.0)
