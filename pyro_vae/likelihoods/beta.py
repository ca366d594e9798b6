"""Beta likelihood."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional

from ..distributions.means import inner
from ..networks import Shape
from .likelihood import Likelihood

AT_ONE = math.log(math.e - 1)  # softplus of it is 1
SMALLEST = 1e-3


class OpenUnitInterval(constraints.Constraint):
    """Values strictly between 0 and 1."""

    is_discrete = False
    cure = (
        "Dequantize 8-bit pixels (`dequantized`, --dequantize), move exact 0 and 1 inside, or use ContinuousBernoulli."
    )

    def __str__(self) -> str:
        return "strictly between 0 and 1"

    def check(self, value: Tensor) -> Tensor:
        return (value > 0) & (value < 1)


class InteriorBeta(dist.Beta):
    """`dist.Beta` that refuses 0 and 1, where its density may be infinite."""

    support: Any = OpenUnitInterval()


class Beta(Likelihood):
    """Proportions strictly between 0 and 1: the flexible density (flat, peaked or U-shaped) for rates and fractions.

    p(x|z) = prod_d Beta(x_d; a_d, b_d), both concentrations softplus of a feature, at least 0.001. At zero features it
    is uniform, Beta(1, 1). Exact 0 and 1 are refused: there the density may be infinite, and training would seek that.

    Args:
        event_shape: shape of one x; features are (2, *event_shape).
        mean: mean of the training data, of shape event_shape (between 0.001 and 0.999): where the mean starts instead
            of at 1/2, the smaller concentration being 1.

    Example:
        >>> Beta(3)(torch.zeros(2, 3)).mean
        tensor([0.5000, 0.5000, 0.5000])
    """

    def __init__(self, event_shape: Shape, mean: Tensor | None = None) -> None:
        super().__init__(event_shape, features_per_value=2)
        self.start_at(mean, _monotone)

    def forward(self, features: Tensor) -> dist.Distribution:
        parts = self.split(features + self.bias)
        a, b = (SMALLEST + (1 - SMALLEST) * functional.softplus(raw + AT_ONE) for raw in parts)
        return InteriorBeta(a, b).to_event(len(self.event_shape))


def _monotone(mean: Tensor) -> Tensor:
    """Features (2, ...) of the concentrations with this mean, the smaller of which is 1: a density without a peak."""
    odds = inner(mean) / (1 - inner(mean))
    concentrations = (torch.stack([odds, 1 / odds]).clamp(min=1) - SMALLEST) / (1 - SMALLEST)
    return concentrations + torch.log(-torch.expm1(-concentrations)) - AT_ONE
