"""Sums of products that come out the same in every order: of whole numbers, so small that float64 holds every sum.

A library may add up in any order, on any number of threads, with or without fused multiply-adds: as long as all partial
sums are whole numbers up to 2^53, each of them is exact. So the factors are rounded to whole multiples of a power of
two, relative to the largest in their row, with as many bits as that leaves them: 21 each for 1,000 products, as
accurate as float32.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .elementary import Floats

BITS = 53


def whole(x: Floats, bits: int, axis: int | tuple[int, ...] | None) -> tuple[Floats, Floats]:
    """Whole numbers of so many bits and the powers of two (1 long in the axes) that times them give x, rounded."""
    if not np.isfinite(x).all():
        raise ValueError("Expected finite numbers in the networks of the model; got infinite ones or NaN.")
    largest = np.abs(x).max(axis, keepdims=True, initial=0.0)
    _, exponent = np.frexp(np.maximum(largest, 1e-200))
    unit = np.ldexp(1.0, exponent - bits)
    return np.rint(x / unit), unit


def matmul(a: Floats, b: Floats) -> Floats:
    """a (..., M, K) times b (..., K, N), factors rounded by rows of a and columns of b."""
    free = BITS - math.ceil(math.log2(a.shape[-1] + 1))
    rows, row_units = whole(a, free // 2, -1)
    columns, column_units = whole(b, free - free // 2, -2)
    return np.matmul(rows, columns) * row_units * column_units


def total(x: Floats, axis: tuple[int, ...], keepdims: bool) -> Floats:
    """The sum over axes."""
    count = math.prod(x.shape[a] for a in axis)
    values, unit = whole(x, BITS - math.ceil(math.log2(count + 1)), axis)
    found: Floats = values.sum(axis, keepdims=True) * unit
    return found if keepdims else found.squeeze(axis)


def running_total(x: Floats, axis: int) -> Floats:
    """The sums of what stands up to each place of an axis."""
    values, unit = whole(x, BITS - math.ceil(math.log2(x.shape[axis] + 1)), axis)
    return values.cumsum(axis) * unit


def convolution(x: Floats, weight: Floats, rest: Sequence[Any], *, spatial: int) -> Floats:
    """The convolution of x (B, ...), rounded by data points, as ``torch.convolution`` has it, without its bias.

    In float64 torch has the products alone, added up: none of the fast transforms, which would divide.
    """
    products = weight.size // min(weight.shape[:2])  # at least as many as meet in one place, of a transposed one, too
    free = BITS - math.ceil(math.log2(products + 1))
    points, units = whole(x, free // 2, tuple(range(1, x.ndim)) if x.ndim == spatial + 2 else None)
    filters, unit = whole(weight, free - free // 2, None)
    found: Tensor = torch.convolution(torch.from_numpy(points), torch.from_numpy(filters), None, *rest)
    return found.numpy() * units * unit.reshape(())
