"""Poisson likelihood."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from ..distributions.means import log_mean
from ..distributions.scale import bounded_exp
from ..networks import Shape
from .likelihood import CountLikelihood


class Poisson(CountLikelihood):
    """Independent counts whose variance equals their mean: events, photons, word counts.

    p(x|z) = prod_d Poisson(x_d; exp(h_d + log mean_d)), the rates between 3e-7 and 3e6. Data: whole numbers as floats
    (array files: any type but uint8, which is divided by 255).

    Args:
        event_shape: shape of one x.
        mean: mean of the training data, of shape event_shape: where the rates start (at least 0.001) instead of at 1.

    Example:
        >>> import torch
        >>> Poisson(3, mean=torch.tensor([0.5, 2.0, 7.0]))(torch.zeros(3)).mean
        tensor([0.5000, 2.0000, 7.0000])
    """

    def __init__(self, event_shape: Shape, mean: Tensor | None = None) -> None:
        super().__init__(event_shape)
        self.start_at(mean, log_mean)

    def forward(self, features: Tensor) -> dist.Distribution:
        return dist.Poisson(bounded_exp(features + self.bias)).to_event(len(self.event_shape))
