"""Gaussian likelihood."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from .likelihood import LocationScale


class Gaussian(LocationScale):
    """Independent Gaussian real values, scale fixed, shared or per pixel: the plain choice for continuous data.

    p(x|z) = prod_d Normal(x_d; h_d, scale_d).

    A density, not a probability: with a learned scale, values that repeat exactly (black borders) let it grow
    without bound. ``min_scale`` is the floor; choose it near the data's resolution (1/256 for 8-bit pixels), or
    use `DiscretizedLogistic` for 8-bit pixels.

    Args:
        event_shape: shape of one x.
        scale: a number for a fixed scale; "shared" for one learned scale; "per-pixel" for a scale that the
            decoder gives for each value (``feature_shape`` is then (2, *event_shape)).
        min_scale: lower bound of a learned scale.
        mean: mean of the training data, of shape event_shape: where the locations start instead of at 0.

    Example:
        >>> Gaussian((1, 8, 8), scale="per-pixel").feature_shape
        (2, 1, 8, 8)
    """

    def forward(self, features: Tensor) -> dist.Distribution:
        loc, scale = self.loc_and_scale(features)
        return dist.Normal(loc, scale).to_event(len(self.event_shape))
