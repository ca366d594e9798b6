"""Likelihoods of grey levels by the mass that a density has between them."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from ..distributions.levels import LEVELS_CURE, Levels
from ..distributions.rounded import Family, Rounded, around_middle_grey
from ..networks import Shape
from .likelihood import Likelihood
from .scale import positive
from .start import inner, invert


class RoundedLikelihood(Likelihood):
    """Independent rounded variables, location and scale from the decoder. Abstract: a subclass names the ``family``.

    Args:
        event_shape: shape of one x; features are (2, *event_shape).
        levels: number of grey levels.
        min_scale: lower bound of the scale, in units of one level.
        mean: mean of the training data, of shape event_shape (between 0.001 and 0.999): where the mean starts instead
            of at middle grey.
    """

    family: Family
    cure = LEVELS_CURE

    def __init__(
        self, event_shape: Shape, levels: int = 256, min_scale: float = 0.1, mean: Tensor | None = None
    ) -> None:
        super().__init__(event_shape, features_per_value=2)
        self.levels, self.support = levels, Levels(levels)
        self.min_scale = positive(min_scale, name="min_scale")
        self.accepts = f"pixels that are {self.support}"
        self.start_at(mean, lambda mean: invert(lambda loc: self._rounded(loc, 0 * loc).mean, inner(mean), bound=3.0))

    def _rounded(self, loc: Tensor, raw: Tensor) -> Rounded:
        return around_middle_grey(loc, raw, self.min_scale, self.levels, self.family)

    def forward(self, features: Tensor) -> dist.Distribution:
        return self._rounded(*self.split(features + self.bias)).to_event(len(self.event_shape))

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, levels={self.levels}, min_scale={self.min_scale}"
