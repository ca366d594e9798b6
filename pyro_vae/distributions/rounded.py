"""Continuous variables rounded to grey levels: the mathematics of the discretized likelihoods."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all
from torch.nn import functional

from .levels import Levels
from .scale import positive_scale


class Family(NamedTuple):
    """A symmetric continuous distribution, in its standard form with distribution function F."""

    below: Callable[[Tensor], Tensor]  # F(t)
    log_below: Callable[[Tensor], Tensor]  # log F(t), and log[1 - F(-t)]
    log_between: Callable[[Tensor, Tensor], Tensor]  # t, w: log[F(t + w/2) - F(t - w/2)]
    quantile: Callable[[Tensor], Tensor]  # F^-1(u)


class Rounded(TorchDistribution):
    """loc + scale * t, rounded to the nearest of ``levels`` values in [0, 1]; edge levels hold the tails.

    log P(x) = log[F(x + w/2) - F(x - w/2)], w = 1 / (levels - 1), F the distribution function before rounding, with
    F(x - w/2) = 0 at x = 0 and F(x + w/2) = 1 at x = 1; so the levels' probabilities sum to 1.
    """

    # Any: the supertype declares these loosely, and a constraint cannot be built before `levels` is known.
    arg_constraints: Any = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012

    def __init__(
        self, loc: Tensor, scale: Tensor, levels: int, family: Family, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        self.levels, self.family = levels, family
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Levels:
        return Levels(self.levels)

    @property
    def mean(self) -> Tensor:
        """The exact mean of the rounded variable."""
        return self.moments()[0]

    @property
    def variance(self) -> Tensor:
        """The exact variance of the rounded variable."""
        return self.moments()[1]

    def moments(self) -> tuple[Tensor, Tensor]:
        """Mean and variance at once, by sums over thresholds k of P(x >= threshold k), and of (2 k - 1) times it."""
        total, square = torch.zeros_like(self.loc), torch.zeros_like(self.loc)
        middle, inverse = self.loc / self.scale, 1 / self.scale
        for k in range(1, self.levels):  # all at once would take `levels` times the memory of the data
            above = self.family.below(torch.sub(middle, inverse, alpha=(k - 0.5) / (self.levels - 1)))
            total = total + above
            square = torch.add(square, above, alpha=2 * k - 1)
        mean = total / (self.levels - 1)
        return mean, (square / (self.levels - 1) ** 2 - mean.square()).clamp(min=0)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> Rounded:
        loc, scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        return Rounded(loc, scale, self.levels, self.family, self._validate_args)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        u = torch.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        x = self.loc + self.scale * self.family.quantile(u.clamp(min=torch.finfo(u.dtype).tiny))
        return (x.clamp(0, 1) * (self.levels - 1)).round() / (self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        half = 0.5 / (self.levels - 1)
        # Far from loc, the two rounded edges are equal: their distance is taken from its formula.
        between = self.family.log_between((value - self.loc) / self.scale, 2 * half / self.scale)
        first = self.family.log_below((value + half - self.loc) / self.scale)
        last = self.family.log_below((self.loc - value + half) / self.scale)
        return torch.where(value < half, first, torch.where(value > 1 - half, last, between))


def _logistic_log_between(t: Tensor, width: Tensor) -> Tensor:
    # F(b) - F(a) = F(b) (1 - F(a)) (1 - exp(a - b)): no difference of nearly equal numbers, in any tail.
    edges = functional.logsigmoid(width / 2 + t) + functional.logsigmoid(width / 2 - t)
    return edges + torch.log(-torch.expm1(-width))


def _log_ndtr(t: Tensor) -> Tensor:
    # torch.special.log_ndtr has wrong gradients far in the tail: 0.4 at -2e5 in float32, where it should be 2e5.
    in_tail = t < -1
    tail, rest = torch.where(in_tail, -t, 1.0), torch.where(in_tail, 0.0, t)
    log_tail = (0.5 * torch.special.erfcx(tail * math.sqrt(0.5))).log() - 0.5 * tail.square()
    return torch.where(in_tail, log_tail, torch.log1p(-0.5 * torch.erfc(rest * math.sqrt(0.5))))


def _normal_log_between(t: Tensor, width: Tensor) -> Tensor:
    """Three formulas, each where it has no difference of nearly equal numbers."""
    t = t.abs()  # by symmetry, in the right tail
    a, b = t - width / 2, t + width / 2
    around = a < 0
    narrow = ~around & ((1 + t) * width < 0.1)
    root = math.sqrt(0.5)

    # The bin holds the mode: a sum of two positive parts.
    low, high = torch.where(around, -a, 1.0), torch.where(around, b, 1.0)
    around_mode = torch.log(0.5 * (torch.erf(low * root) + torch.erf(high * root)))

    # A narrow bin: the density at its middle times its width, with two terms of the expansion in h = width / 2.
    s, h2 = torch.where(narrow, t, 0.0).square(), torch.where(narrow, width / 2, 0.0).square()
    log_width = torch.where(narrow, width, 1.0).log()
    expansion = h2 * (s - 1) / 6 - h2.square() * (s.square() + 4 * s - 2) / 180
    within = log_width - 0.5 * s - 0.5 * math.log(2 * math.pi) + expansion

    # Q(a) - Q(b) = Q(a) [1 - exp(-t w) m(b) / m(a)], Q the upper tail, m = Q / density, a scaled erfc.
    tail = ~around & ~narrow
    a, b = torch.where(tail, a, 1.0), torch.where(tail, b, 2.0)
    tw = torch.where(tail, t * width, 1.5)
    ratio = torch.special.erfcx(b * root) / torch.special.erfcx(a * root)
    beyond = _log_ndtr(-a) + torch.log1p(-torch.exp(-tw) * ratio)
    return torch.where(around, around_mode, torch.where(narrow, within, beyond))


def around_middle_grey(loc: Tensor, raw: Tensor, min_scale: float, levels: int, family: Family) -> Rounded:
    """Variables from unbounded features: at zero, middle grey with a scale of 0.1. min_scale is in levels."""
    return Rounded(loc + 0.5, positive_scale(raw - 2.25, min_scale / (levels - 1)), levels, family)


LOGISTIC = Family(torch.sigmoid, functional.logsigmoid, _logistic_log_between, torch.logit)
NORMAL = Family(torch.special.ndtr, _log_ndtr, _normal_log_between, torch.special.ndtri)
