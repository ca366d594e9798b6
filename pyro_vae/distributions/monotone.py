"""Inverse of the scalar bijection that planar and Sylvester flows consist of."""

from __future__ import annotations

import torch
from torch import Tensor

HALVINGS, NEWTON_STEPS = 14, 8
MARGIN = 0.01  # 1 + a b of a step is never smaller: a flatter bijection has no inverse in floating point


def solve(y: Tensor, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """The root t of t + a tanh(b t + c) = y, for a b > -1, where the left side increases with t.

    By bisection between y - |a| and y + |a|, then Newton steps kept inside what is left of it: a fixed number of each,
    so that no value decides what is computed. Differentiable (once) in all arguments: the last Newton step, its slope
    held fixed, has the derivatives of the root.
    """
    with torch.no_grad():
        low, high = torch.broadcast_tensors(y - a.abs(), y + a.abs(), b, c)[:2]
        t = (low + high) / 2
        for i in range(HALVINGS + NEWTON_STEPS):
            excess, slope = _excess_and_slope(t, y, a, b, c)
            low, high = torch.where(excess <= 0, t, low), torch.where(excess >= 0, t, high)
            t = (low + high) / 2 if i < HALVINGS else torch.clamp(t - excess / slope, low, high)
    excess, slope = _excess_and_slope(t, y, a, b, c)
    return t - excess / slope.detach()


def _excess_and_slope(t: Tensor, y: Tensor, a: Tensor, b: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    h = torch.tanh(b * t + c)
    return t + a * h - y, 1 + a * b * (1 - h.square())
