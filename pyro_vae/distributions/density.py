"""Distributions given by a log density and a sampler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints


class Density(dist.TorchDistribution):
    """The distribution over vectors (D,) with a given log density and sampler, the same for all of its batch.

    Args:
        dim: D.
        log_density: log p(z) of z (..., D), of shape (...).
        draw: independent draws (*shape, D) for a shape; called without gradients.
    """

    arg_constraints: Any = {}  # noqa: RUF012
    support = constraints.real_vector

    def __init__(
        self,
        dim: int,
        log_density: Callable[[Tensor], Tensor],
        draw: Callable[[torch.Size], Tensor],
        *,
        batch_shape: torch.Size = torch.Size(),  # noqa: B008
        validate_args: bool | None = None,
    ) -> None:
        self.log_density, self.draw = log_density, draw
        super().__init__(batch_shape, torch.Size([dim]), validate_args=validate_args)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> Density:
        dim, validate = self.event_shape[0], self._validate_args
        return Density(dim, self.log_density, self.draw, batch_shape=torch.Size(batch_shape), validate_args=validate)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        with torch.no_grad():
            return self.draw(torch.Size(sample_shape) + self.batch_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_prob = self.log_density(value)
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))
