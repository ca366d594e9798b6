"""Von Mises likelihood."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from ..networks import Shape
from .likelihood import Likelihood

CIRCLE: Any = constraints.interval(-math.pi, math.pi)
CIRCLE.cure = "Give radians; wrap them with torch.atan2(x.sin(), x.cos())."


class OneTurn(dist.VonMises):
    """`dist.VonMises` on one turn of the circle, with gradients down to concentration 0 (Pyro's are nan below 6e-5)."""

    support: Any = CIRCLE

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        k = self.concentration
        return k * (torch.cos(value - self.loc) - 1) - math.log(2 * math.pi) - torch.special.i0e(k).log()


class VonMises(Likelihood):
    """Angles in [-pi, pi]: the Gaussian of the circle, for directions, phases and torsion angles.

    p(x|z) = prod_d exp(a_d cos x_d + b_d sin x_d) / (2 pi I_0(k_d)), k_d = |(a_d, b_d)|: the features are the two
    natural parameters, an arrow whose direction is the location and whose length is the concentration, so that nothing
    jumps where the circle closes. At zero features it is uniform: it takes no mean of the training data to start from,
    for the mean of angles as numbers says nothing of their direction. Data from the command line: floats in radians.

    Args:
        event_shape: shape of one x; features are (2, *event_shape).

    Reference:
        Mardia, Jupp 2000, "Directional statistics".

    Example:
        >>> VonMises(1)(torch.zeros(2, 1)).log_prob(torch.tensor([3.0])).exp()  # 1 / (2 pi)
        tensor(0.1592)
    """

    def __init__(self, event_shape: Shape) -> None:
        super().__init__(event_shape, features_per_value=2)

    def forward(self, features: Tensor) -> dist.Distribution:
        a, b = self.split(features)
        a = a + 1e-6  # direction and length have no gradient at zero itself, where a decoder may start
        return OneTurn(torch.atan2(b, a), torch.hypot(a, b)).to_event(len(self.event_shape))
