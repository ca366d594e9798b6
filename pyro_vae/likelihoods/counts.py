"""What likelihoods of counts share: the link from features to rates, and where training starts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import constraints

from ..networks import Shape
from .likelihood import Likelihood


class CountLikelihood(Likelihood):
    """Counts with rates exp(feature + log mean). Abstract: a subclass gives ``forward``.

    Args:
        event_shape: shape of one x.
        mean: mean of the training data, of shape event_shape: the rates start at it (at 0.001 where it is below)
            instead of at 1; the decoder's own bias is trained on top.
        features_per_value: numbers the decoder gives for each value of x.
    """

    support: constraints.Constraint = constraints.nonnegative_integer
    accepts = "counts 0, 1, 2, ..."
    cure = (
        "Give counts as floats that are whole numbers (array files: uint8 is divided by 255, so convert it with "
        "`.astype('float32')`), or take Gaussian for other values."
    )

    def __init__(self, event_shape: Shape, mean: Tensor | None = None, features_per_value: int = 1) -> None:
        super().__init__(event_shape, features_per_value=features_per_value)
        start = torch.zeros(self.event_shape) if mean is None else mean.clamp(min=1e-3).log()
        if tuple(start.shape) != self.event_shape:
            raise ValueError(f"Expected mean of shape {self.event_shape}; got {tuple(start.shape)}.")
        self.log_mean: Tensor
        self.register_buffer("log_mean", start)


def bounded_exp(log_value: Tensor, *, bound: float = 15.0) -> Tensor:
    """exp, with its argument kept between -bound and bound: rates from 3e-7 to 3e6, all of them safe in float32."""
    return log_value.clamp(-bound, bound).exp()
