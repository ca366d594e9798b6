"""Grey levels k / (levels - 1): the set, and distributions of integers put onto it."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints


class Levels(constraints.Constraint):
    """Values k / (levels - 1) for k = 0, ..., levels - 1, to within float rounding."""

    is_discrete = True
    cure = (
        "Scale 8-bit images by 1/255 and keep their levels (binarization 'none', no dequantization), set levels to "
        "the number of grey levels of your data, or use Gaussian for real values."
    )

    def __init__(self, levels: int) -> None:
        self.levels = levels
        super().__init__()

    def __str__(self) -> str:
        return f"multiples of 1/{self.levels - 1} in [0, 1]"

    def check(self, value: Tensor) -> Tensor:
        steps = value * (self.levels - 1)
        # 1e-3 of a level: far above the rounding of k / 255 in float32, far below the next level.
        return ((steps - steps.round()).abs() < 1e-3) & (value > -0.5 / self.levels) & (value < 1 + 0.5 / self.levels)


class OnLevels(TorchDistribution):
    """A distribution of k = 0, ..., levels - 1, given by logits, as one of k / (levels - 1): the same probabilities."""

    arg_constraints: Any = {}  # noqa: RUF012 (the supertype declares it loosely)

    def __init__(self, base_dist: Any, levels: int, validate_args: bool | None = None) -> None:
        self.base_dist, self.levels = base_dist, levels
        super().__init__(base_dist.batch_shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Levels:
        return Levels(self.levels)

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean / (self.levels - 1)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> OnLevels:
        return OnLevels(self.base_dist.expand(batch_shape), self.levels, self._validate_args)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        return self.base_dist.sample(sample_shape).to(self.base_dist.logits) / (self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return self.base_dist.log_prob((value * (self.levels - 1)).round())
