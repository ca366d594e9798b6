"""Gaussian likelihood."""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional

from ..networks import Shape
from .likelihood import Likelihood


class Gaussian(Likelihood):
    """Independent real values: p(x|z) = prod_d Normal(x_d; h_d, scale_d).

    A density, not a probability: with a learned scale, values that repeat exactly (black borders) let it grow
    without bound. ``min_scale`` is the floor; choose it near the data's resolution (1/256 for 8-bit pixels), or
    take `DiscretizedLogistic` for 8-bit pixels.

    Args:
        event_shape: shape of one x.
        scale: a number for a fixed scale; "shared" for one learned scale; "per-pixel" for a scale that the
            decoder gives for each value (``feature_shape`` is then (2, *event_shape)).
        min_scale: lower bound of a learned scale.

    Example:
        >>> Gaussian((1, 8, 8), scale="per-pixel").feature_shape
        (2, 1, 8, 8)
    """

    support = constraints.real
    accepts = "finite real values"
    cure = "Remove or replace the values that are not finite."

    def __init__(
        self,
        event_shape: Shape,
        scale: float | Literal["shared", "per-pixel"] = "shared",
        min_scale: float = 0.01,
    ) -> None:
        if isinstance(scale, str) and scale not in ("shared", "per-pixel"):
            raise ValueError(f"Expected scale to be a number, 'shared' or 'per-pixel'; got {scale!r}.")
        if not isinstance(scale, str) and not scale > 0:
            raise ValueError(f"Expected scale > 0; got {scale}.")
        if not min_scale > 0:
            raise ValueError(f"Expected min_scale > 0; got {min_scale}.")
        super().__init__(event_shape, features_per_value=2 if scale == "per-pixel" else 1)
        self.scale = scale
        self.min_scale = min_scale
        if scale == "shared":
            self.raw_scale = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> dist.Distribution:
        if self.scale == "per-pixel":
            loc, raw = self.split(features)
            scale = self.min_scale + functional.softplus(raw)
        elif self.scale == "shared":
            loc, scale = features, self.min_scale + functional.softplus(self.raw_scale)
        else:
            loc, scale = features, features.new_tensor(self.scale)
        return dist.Normal(loc, scale).to_event(len(self.event_shape))

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, scale={self.scale!r}, min_scale={self.min_scale}"
