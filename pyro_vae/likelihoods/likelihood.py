"""What likelihoods share: shapes, which x they accept, where they start; counts, real values and rounded ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions.constraints import Constraint

from ..arguments.at_least import at_least
from ..arguments.positive import positive
from ..distributions.means import inner, invert
from ..distributions.rounded import Family, Rounded, around_middle_grey
from ..distributions.scale import positive_scale
from ..networks import Shape, as_shape


class Likelihood(nn.Module):
    """A module that turns features h (..., B, *feature_shape) into p(x|z), batch (..., B), event event_shape.

    Abstract: a subclass gives ``forward``. The width of a decoder's output follows from
    ``feature_shape``: ``MLP(latent_dim, likelihood.feature_shape)``.

    Args:
        event_shape: shape of one x, such as (1, 28, 28).
        features_per_value: numbers the decoder gives for each value of x. With one, ``feature_shape`` equals
            ``event_shape``; with more, it has that count in front.
    """

    bias: Tensor  # (*feature_shape), where `start_at` is called; added to the features

    def __init__(self, event_shape: Shape, features_per_value: int = 1) -> None:
        super().__init__()
        self.event_shape = as_shape(event_shape)
        self.feature_shape = self.event_shape if features_per_value == 1 else (features_per_value, *self.event_shape)

    @property
    def support(self) -> Constraint:
        """Where x can be."""
        return self(torch.zeros(self.feature_shape, device=self.device)).support

    @property
    def device(self) -> torch.device:
        """Where the parameters and buffers are."""
        tensors = itertools.chain(self.parameters(), self.buffers())
        return next((tensor.device for tensor in tensors), torch.device("cpu"))

    def split(self, features: Tensor) -> tuple[Tensor, ...]:
        """The ``features_per_value`` tensors of shape (..., B, *event_shape) inside features."""
        return features.unbind(-len(self.feature_shape))

    def start_at(self, mean: Tensor | None, features: Callable[[Tensor], Tensor]) -> None:
        """Set ``bias``, to be added to the features, so that zero features give a distribution with this mean.

        The decoder, which starts near zero, then starts at the data's mean; its own bias is trained on top.

        Args:
            mean: (*event_shape), such as the mean of the training data; None for a bias of zeros.
            features: from a mean to all features, or to those of the first of ``features_per_value`` alone.

        Raises:
            ValueError: the mean has another shape.
        """
        bias = torch.zeros(self.feature_shape, device=None if mean is None else mean.device)
        if mean is not None:
            if tuple(mean.shape) != self.event_shape:
                raise ValueError(f"Expected mean of shape {self.event_shape}; got {tuple(mean.shape)}.")
            start = features(mean)
            (bias if start.shape == bias.shape else bias[0]).copy_(start)
        self.register_buffer("bias", bias)

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}"


class CountLikelihood(Likelihood):
    """Counts with rates exp(feature). Abstract: a subclass gives ``forward`` and starts at `log_mean` of the data."""


class LocationScale(Likelihood):
    """Real values with a location and a scale. Abstract: a subclass gives ``forward``; arguments as in `Gaussian`."""

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
        positive(min_scale=min_scale)
        self.scale, self.min_scale = scale, min_scale
        if not isinstance(scale, str):
            positive(scale=scale)
        elif scale == "shared":
            self.raw_scale = nn.Parameter(torch.zeros(()))
        self.start_at(mean, lambda mean: mean)

    def loc_and_scale(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Both (..., B, *event_shape), or a scale (); a learned scale is min_scale + softplus."""
        features = features + self.bias
        if self.scale == "per-pixel":
            loc, raw = self.split(features)
            return loc, positive_scale(raw, self.min_scale)
        if self.scale == "shared":
            return features, positive_scale(self.raw_scale, self.min_scale)
        return features, features.new_tensor(self.scale)

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, scale={self.scale!r}, min_scale={self.min_scale}"


class RoundedLikelihood(Likelihood):
    """Rounded variables. Abstract: a subclass names the ``family``; arguments as in `DiscretizedLogistic`."""

    family: Family

    def __init__(
        self, event_shape: Shape, levels: int = 256, min_scale: float = 0.1, mean: Tensor | None = None
    ) -> None:
        super().__init__(event_shape, features_per_value=2)
        at_least(2, levels=levels)
        positive(min_scale=min_scale)
        self.levels, self.min_scale = levels, min_scale
        self.start_at(mean, lambda mean: invert(lambda loc: self._rounded(loc, 0 * loc).mean, inner(mean), bound=3.0))

    def _rounded(self, loc: Tensor, raw: Tensor) -> Rounded:
        return around_middle_grey(loc, raw, self.min_scale, self.levels, self.family)

    def forward(self, features: Tensor) -> dist.Distribution:
        return self._rounded(*self.split(features + self.bias)).to_event(len(self.event_shape))

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, levels={self.levels}, min_scale={self.min_scale}"
