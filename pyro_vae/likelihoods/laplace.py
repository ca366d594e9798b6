"""Laplace likelihood."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from .likelihood import LocationScale


class Laplace(LocationScale):
    """Independent Laplace real values: absolute instead of squared errors, for sharp edges and some outliers.

    p(x|z) = prod_d exp(-|x_d - h_d| / b_d) / (2 b_d), b the scale. A density: see `Gaussian` on min_scale.

    Args:
        event_shape: shape of one x.
        scale: a number for a fixed b; "shared" for one learned b; "per-pixel" for one that the decoder gives for
            each value (features are then (2, *event_shape)).
        min_scale: lower bound of a learned b.
        mean: mean of the training data, of shape event_shape: where the locations start instead of at 0.

    Example:
        >>> import torch
        >>> Laplace(2, scale=1.0)(torch.zeros(2)).log_prob(torch.zeros(2))  # 2 log(1/2)
        tensor(-1.3863)
    """

    def forward(self, features: Tensor) -> dist.Distribution:
        return dist.Laplace(*self.loc_and_scale(features)).to_event(len(self.event_shape))
