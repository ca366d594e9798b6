"""Discretized Gaussian likelihood: a probability of each grey level, with light tails."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from ..networks import Shape
from .levels import LEVELS_CURE, Levels
from .likelihood import Likelihood
from .rounded import NORMAL, around_middle_grey
from .scale import positive


class DiscretizedGaussian(Likelihood):
    """Gaussian variables rounded to 256 (or ``levels``) grey levels: 8-bit images as diffusion models score them.

    P(x|z) = Phi((x + w/2 - loc) / scale) - Phi((x - w/2 - loc) / scale), w = 1 / (levels - 1), the edge levels holding
    the tails. Data: k / 255 in [0, 1]. Its tails are light: one pixel far off costs much more than it does under
    `DiscretizedLogistic`.

    Args:
        event_shape: shape of one x; features are (2, *event_shape), location and scale before their bounds.
        levels: number of grey levels.
        min_scale: lower bound of the scale, in units of one level.

    Reference:
        Ho, Jain, Abbeel 2020, "Denoising diffusion probabilistic models" (its decoder).

    Example:
        >>> import torch
        >>> px = DiscretizedGaussian(3, levels=17)(torch.zeros(2, 3))
        >>> px.mean
        tensor([0.5000, 0.5000, 0.5000])
    """

    cure = LEVELS_CURE

    def __init__(self, event_shape: Shape, levels: int = 256, min_scale: float = 0.1) -> None:
        super().__init__(event_shape, features_per_value=2)
        self.levels, self.support = levels, Levels(levels)
        self.min_scale = positive(min_scale, name="min_scale")
        self.accepts = f"pixels that are {self.support}"

    def forward(self, features: Tensor) -> dist.Distribution:
        loc, raw = self.split(features)
        grey = around_middle_grey(loc, raw, self.min_scale, self.levels, NORMAL)
        return grey.to_event(len(self.event_shape))

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, levels={self.levels}"
