"""Gaussian likelihood with correlated values."""

from __future__ import annotations

import copy
import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..arguments.positive import positive
from ..distributions.scale import positive_scale
from ..networks import Shape
from .likelihood import Likelihood


class LowRankNormal(TorchDistribution):
    """`dist.LowRankMultivariateNormal` over a whole event of any shape, with an exact marginal of any part of it.

    Args:
        loc: (..., D), the event flattened.
        factor: W (..., D, R); the covariance is W W' + diag(diagonal).
        diagonal: (..., D).
        event_shape: of D values.
        seen: (..., D) of bool; log_prob is then that of these values alone.
    """

    arg_constraints: Any = {}  # noqa: RUF012 (the supertype declares it loosely; the base distribution checks them)

    def __init__(
        self,
        loc: Tensor,
        factor: Tensor,
        diagonal: Tensor,
        event_shape: tuple[int, ...],
        seen: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        self.loc, self.factor, self.diagonal, self.seen = loc, factor, diagonal, seen
        super().__init__(loc.shape[:-1], torch.Size(event_shape), validate_args=validate_args)

    @constraints.dependent_property(is_discrete=False)
    def support(self) -> constraints.Constraint:
        return constraints.independent(constraints.real, len(self.event_shape))

    @property
    def mean(self) -> Tensor:
        return self.loc.unflatten(-1, self.event_shape)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> LowRankNormal:
        seen = None if self.seen is None else self.seen.expand(*batch_shape, -1)
        loc, diagonal = (value.expand(*batch_shape, -1) for value in (self.loc, self.diagonal))
        factor = self.factor.expand(*batch_shape, -1, -1)
        return LowRankNormal(loc, factor, diagonal, tuple(self.event_shape), seen, self._validate_args)

    def observed(self, mask: Tensor) -> LowRankNormal:
        """The marginal of the values where mask (..., *event_shape) is true."""
        new = copy.copy(self)
        new.seen = mask.flatten(-len(self.event_shape))
        return new

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        shape = self._extended_shape(sample_shape)[: -len(self.event_shape)]
        noise = torch.randn(*shape, *self.diagonal.shape[-1:], dtype=self.loc.dtype, device=self.loc.device)
        common = torch.randn(*shape, *self.factor.shape[-1:], 1, dtype=self.loc.dtype, device=self.loc.device)
        x = self.loc + self.diagonal.sqrt() * noise + (self.factor @ common).squeeze(-1)
        return x.unflatten(-1, self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        x, factor, diagonal = value.flatten(-len(self.event_shape)), self.factor, self.diagonal
        correction: Tensor | float = 0.0
        if self.seen is not None:  # values not seen become standard normals of their own, each seen at its mode
            x = torch.where(self.seen, x, self.loc)
            factor, diagonal = factor * self.seen.unsqueeze(-1), torch.where(self.seen, diagonal, 1.0)
            correction = 0.5 * math.log(2 * math.pi) * (~self.seen).sum(-1)
        full = dist.LowRankMultivariateNormal(self.loc, factor, diagonal, validate_args=False)
        return full.log_prob(x) + correction


class LowRankGaussian(Likelihood):
    """Gaussian real values that the decoder correlates: for residuals that move together, such as smooth noise.

    p(x|z) = Normal(x; m, W W' + diag(s^2)), W with ``rank`` columns; m, s and W come from the decoder. The price is
    rank + 2 features for each value, and a matrix of rank x rank to factor for each data point. A density: see
    `Gaussian` on min_scale.

    Args:
        event_shape: shape of one x; features are (rank + 2, *event_shape).
        rank: number of columns of W.
        min_scale: lower bound of s.
        mean: mean of the training data, of shape event_shape: where m starts instead of at 0.

    Reference:
        Dorta, Vicente, Agapito, Campbell, Simpson 2018, "Structured uncertainty prediction networks" (decoders with a
        covariance).

    Example:
        >>> likelihood = LowRankGaussian((1, 4, 4), rank=2)
        >>> likelihood(torch.zeros(5, *likelihood.feature_shape)).log_prob(torch.zeros(5, 1, 4, 4)).shape
        torch.Size([5])
    """

    def __init__(self, event_shape: Shape, rank: int = 5, min_scale: float = 0.01, mean: Tensor | None = None) -> None:
        if rank < 1:
            raise ValueError(f"Expected rank >= 1; got {rank}. Without correlations, use Gaussian.")
        super().__init__(event_shape, features_per_value=rank + 2)
        positive(min_scale=min_scale)
        self.rank, self.min_scale = rank, min_scale
        self.start_at(mean, lambda mean: mean)

    def forward(self, features: Tensor) -> dist.Distribution:
        flat = (features + self.bias).flatten(-len(self.event_shape))  # (..., rank + 2, D)
        loc, raw, factor = flat[..., 0, :], flat[..., 1, :], flat[..., 2:, :].mT
        diagonal = positive_scale(raw, self.min_scale).square()
        return LowRankNormal(loc, factor, diagonal, self.event_shape)

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, rank={self.rank}, min_scale={self.min_scale}"
