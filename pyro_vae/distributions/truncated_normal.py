"""A normal distribution without its tails."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from .validation_private import validated_like


class TruncatedNormal(dist.TorchDistribution):
    """Normal(loc, scale) given that it lies within so many scales of loc, drawn by the inverse of its distribution
    function.

    Args:
        loc, scale: of the normal distribution; they broadcast.
        limit: scales on each side, above 0.
    """

    arg_constraints: Any = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012
    support = constraints.real

    def __init__(self, loc: Tensor, scale: Tensor, limit: float, validate_args: bool | None = None) -> None:
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.limit = limit
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> TruncatedNormal:
        loc, scale = self.loc.expand(batch_shape), self.scale.expand(batch_shape)
        return validated_like(TruncatedNormal(loc, scale, self.limit, validate_args=False), self)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        uniform = torch.rand(torch.Size(sample_shape) + self.batch_shape, device=self.loc.device, dtype=torch.double)
        inside = math.erf(self.limit / math.sqrt(2))
        noise = math.sqrt(2) * torch.erfinv((2 * uniform - 1) * inside)
        return self.loc + self.scale * noise.clamp(-self.limit, self.limit).to(self.loc.dtype)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        noise = (value - self.loc) / self.scale
        log_prob = -noise.square() / 2 - self.scale.log() - 0.5 * math.log(2 * math.pi)
        inside = noise.abs() <= self.limit * (1 + 1e-5)  # a draw at the limit may be rounded beyond it
        return (log_prob - math.log(math.erf(self.limit / math.sqrt(2)))).where(inside, -math.inf)
