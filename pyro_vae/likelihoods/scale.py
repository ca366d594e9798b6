"""Location and scale of real values: a fixed scale, a shared learned one, or one from the decoder for each value."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional

from ..networks import Shape
from .likelihood import NOT_FINITE, Likelihood


def positive(value: float, *, name: str) -> float:
    """The value, if it is above 0; a ValueError otherwise."""
    if not value > 0:
        raise ValueError(f"Expected {name} > 0; got {value}.")
    return value


class Finite(constraints.Constraint):
    """Real values; torch's own constraint lets the infinite ones pass."""

    is_discrete = False

    def check(self, value: Tensor) -> Tensor:
        return value.isfinite()


class LocationScale(Likelihood):
    """Real values with a location and a scale. Abstract: a subclass gives ``forward``.

    Args:
        event_shape: shape of one x.
        scale: a number for a fixed scale; "shared" for one learned scale; "per-pixel" for a scale that the
            decoder gives for each value (``feature_shape`` is then (2, *event_shape)).
        min_scale: lower bound of a learned scale.
        mean: mean of the training data, of shape event_shape: where the locations start instead of at 0.
    """

    support = Finite()
    accepts = "finite real values"
    cure = NOT_FINITE

    def __init__(
        self,
        event_shape: Shape,
        scale: float | Literal["shared", "per-pixel"] = "shared",
        min_scale: float = 0.01,
        mean: Tensor | None = None,
    ) -> None:
        if isinstance(scale, str) and scale not in ("shared", "per-pixel"):
            raise ValueError(f"Expected scale to be a number, 'shared' or 'per-pixel'; got {scale!r}.")
        super().__init__(event_shape, features_per_value=2 if scale == "per-pixel" else 1)
        self.scale = scale if isinstance(scale, str) else positive(scale, name="scale")
        self.min_scale = positive(min_scale, name="min_scale")
        if scale == "shared":
            self.raw_scale = nn.Parameter(torch.zeros(()))
        self.start_at(mean, lambda mean: mean)

    def loc_and_scale(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Both (..., B, *event_shape), or a scale (); a learned scale is min_scale + softplus."""
        features = features + self.bias
        if self.scale == "per-pixel":
            loc, raw = self.split(features)
            return loc, self.min_scale + functional.softplus(raw)
        if self.scale == "shared":
            return features, self.min_scale + functional.softplus(self.raw_scale)
        return features, features.new_tensor(self.scale)

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, scale={self.scale!r}, min_scale={self.min_scale}"
