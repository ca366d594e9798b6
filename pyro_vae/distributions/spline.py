"""Monotonic rational-quadratic splines, without reading values, so that they can be recorded as a graph."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .scale import unit_scale

SMALLEST = 1e-3  # share of the interval that each bin has at least


def spline(x: Tensor, raw: Tensor, *, bound: float, inverse: bool = False) -> tuple[Tensor, Tensor]:
    """An increasing map of the whole line onto itself: a spline on [-bound, bound], the identity beyond.

    With K bins, knots (x_k, y_k) and slopes d_k, in bin k with h = y_{k+1} - y_k, s = h / (x_{k+1} - x_k) and
    t = (x - x_k) / (x_{k+1} - x_k):

    y = y_k + h (s t^2 + d_k t (1 - t)) / (s + (d_{k+1} + d_k - 2 s) t (1 - t))

    The slope is 1 at both ends, so that the map is differentiable everywhere.

    Args:
        x: (...).
        raw: (..., 3 K - 1), unconstrained widths, heights and inner slopes; 0 is the identity.
        bound: where the spline ends.
        inverse: map y to x instead.

    Returns:
        The mapped values, and the log of the map's derivative there, both (...).

    Reference:
        Durkan, Bekasov, Murray, Papamakarios 2019, "Neural spline flows"; Gregory, Delbourgo 1982, "Piecewise rational
        quadratic interpolation to monotonic data".

    Example:
        >>> y, log_slope = spline(torch.tensor([0.5, 9.0]), torch.zeros(2, 11), bound=3.0)
        >>> y
        tensor([0.5000, 9.0000])
    """
    bins = (raw.shape[-1] + 1) // 3
    widths, heights, slopes = raw.split([bins, bins, bins - 1], -1)
    knots_x, knots_y = _knots(widths, bound), _knots(heights, bound)
    knots_d = functional.pad(unit_scale(slopes), (1, 1), value=1.0)

    outside = x.abs() >= bound
    # A value inside stands in for those outside, so that no gradient is lost in branches that are not taken.
    inner = torch.where(outside, 0.0, x)
    bin_of = (inner[..., None] >= (knots_y if inverse else knots_x)[..., 1:-1]).sum(-1, keepdim=True)
    x0, y0, d0 = (knots.gather(-1, bin_of)[..., 0] for knots in (knots_x, knots_y, knots_d))
    x1, y1, d1 = (knots.gather(-1, bin_of + 1)[..., 0] for knots in (knots_x, knots_y, knots_d))
    slope = (y1 - y0) / (x1 - x0)
    bend = d0 + d1 - 2 * slope
    if inverse:  # the root of a t^2 + b t + c that lies in [0, 1]
        rise = inner - y0
        a, b, c = (y1 - y0) * (slope - d0) + rise * bend, (y1 - y0) * d0 - rise * bend, -slope * rise
        t = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=1e-12).sqrt())
        mapped = x0 + t * (x1 - x0)
    else:
        t = (inner - x0) / (x1 - x0)
        mapped = y0 + (y1 - y0) * (slope * t.square() + d0 * t * (1 - t)) / (slope + bend * t * (1 - t))
    grown = d1 * t.square() + 2 * slope * t * (1 - t) + d0 * (1 - t).square()
    log_slope = 2 * slope.log() + grown.log() - 2 * (slope + bend * t * (1 - t)).log()
    log_slope = torch.where(outside, 0.0, -log_slope if inverse else log_slope)
    return torch.where(outside, x, mapped), log_slope


def _knots(raw: Tensor, bound: float) -> Tensor:
    """K + 1 increasing numbers from -bound to bound."""
    shares = SMALLEST + (1 - SMALLEST * raw.shape[-1]) * raw.softmax(-1)
    inner = 2 * bound * shares.cumsum(-1)[..., :-1] - bound
    return functional.pad(functional.pad(inner, (1, 0), value=-bound), (0, 1), value=bound)
