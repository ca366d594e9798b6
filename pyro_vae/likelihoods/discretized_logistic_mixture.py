"""Mixture of discretized logistics, with coupled colour channels."""

from __future__ import annotations

import copy
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ..arguments.at_least import at_least
from ..arguments.positive import positive
from ..distributions.levels import Levels
from ..distributions.means import inner, invert
from ..distributions.rounded import LOGISTIC, Rounded, around_middle_grey
from ..networks import Shape
from .likelihood import Likelihood


class ColourMixture(TorchDistribution):
    """Colour pixels, each of one of K components; within it green depends on red, and blue on both.

    Args:
        logits: of the components, (..., K, H, W).
        channels: of each component and channel, (..., K, 3, H, W), locations at a middle grey of the channels before.
        coupling: (..., K, 3, H, W): green on red, blue on red, blue on green.
    """

    arg_constraints: Any = {}  # noqa: RUF012 (the supertype declares it loosely)
    seen: Tensor | None = None  # (..., H, W) of bool; log_prob is then that of these pixels alone

    def __init__(self, logits: Tensor, channels: Rounded, coupling: Tensor, validate_args: bool | None = None) -> None:
        self.logits, self.channels, self.coupling = logits, channels, coupling
        shape = channels.batch_shape
        super().__init__(shape[:-4], shape[-3:], validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> constraints.Constraint:
        return constraints.independent(Levels(self.channels.levels), 3)

    def given(self, x: Tensor) -> Rounded:
        """The channels (..., K, 3, H, W) given the values (..., K or 1, 3, H, W) of the channels before each."""
        red, green, _ = (x - 0.5).unbind(-3)
        green_on_red, blue_on_red, blue_on_green = self.coupling.unbind(-3)
        blue = blue_on_red * red + blue_on_green * green
        shift = torch.stack([torch.zeros_like(blue), green_on_red * red, blue], -3)
        p = self.channels
        return Rounded(p.loc + shift, p.scale, p.levels, p.family, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """An approximation: in each component, a channel at the means of those before it."""
        x = torch.full_like(self.channels.loc, 0.5)
        for _ in range(3):  # red is exact after the first time, green has its red after the second, and so on
            x = self.given(x).mean
        return (self.logits.softmax(-3).unsqueeze(-3) * x).sum(-4)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> ColourMixture:
        logits, coupling = (t.expand(*batch_shape, *t.shape[-n:]) for t, n in ((self.logits, 3), (self.coupling, 4)))
        channels = self.channels.expand(torch.Size([*batch_shape, *self.channels.batch_shape[-4:]]))
        new = ColourMixture(logits, channels, coupling, self._validate_args)
        new.seen = None if self.seen is None else self.seen.expand(*batch_shape, -1, -1)
        return new

    def observed(self, mask: Tensor) -> ColourMixture:
        """The marginal of the pixels where mask (..., 3, H, W) is true, for pixels seen or missing as a whole."""
        if self._validate_args and not (mask == mask[..., :1, :, :]).all():
            raise ValueError(
                "Expected pixels that are observed or missing with all three channels, which depend on each other; got "
                "some with a part of them. Mask whole pixels."
            )
        new = copy.copy(self)
        new.seen = mask[..., 0, :, :]
        return new

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        full = self.expand(self._extended_shape(sample_shape)[:-3])
        component = dist.OneHotCategorical(logits=full.logits.movedim(-3, -1)).sample().movedim(-1, -3).unsqueeze(-3)
        x = torch.full_like(full.channels.loc, 0.5)
        for channel in range(3):
            x[..., channel, :, :] = full.given(x).sample()[..., channel, :, :]
        return (component * x).sum(-4)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        x = value.unsqueeze(-4)
        pixels = (self.logits.log_softmax(-3) + self.given(x).log_prob(x).sum(-3)).logsumexp(-3)  # (..., H, W)
        return (pixels if self.seen is None else torch.where(self.seen, pixels, 0.0)).sum((-2, -1))


class DiscretizedLogisticMixture(Likelihood):
    """Mixture of discretized logistics for each pixel, colour channels coupled: the best fit to colour images.

    P(pixel|z) = sum_k pi_k prod_c P(x_c | x_<c; k), each factor a `DiscretizedLogistic`. In colour images (3, H, W) the
    component is shared by a pixel's channels, and the location of green depends linearly on red, that of blue on red
    and green. All other shapes have a plain mixture for each value. Data: k / 255 in [0, 1]. At zero features the
    components stand side by side over the grey levels. The ``mean`` of coupled channels is an approximation.

    Args:
        event_shape: shape of one x. Features are (3 * components, *event_shape), for colour (10 * components, H, W).
        components: number of components K.
        levels: number of grey levels.
        min_scale: lower bound of the logistics' scale, in units of one level.
        mean: mean of the training data, of shape event_shape (between 0.001 and 0.999): where the mean starts instead
            of at middle grey.

    Reference:
        Salimans, Karpathy, Chen, Kingma 2017, "PixelCNN++: Improving the PixelCNN with discretized logistic mixture
        likelihood and other modifications".

    Example:
        >>> likelihood = DiscretizedLogisticMixture((3, 8, 8), components=2)
        >>> px = likelihood(torch.zeros(5, *likelihood.feature_shape))
        >>> likelihood.feature_shape, px.batch_shape, px.event_shape
        ((20, 8, 8), torch.Size([5]), torch.Size([3, 8, 8]))
    """

    def __init__(
        self,
        event_shape: Shape,
        components: int = 5,
        levels: int = 256,
        min_scale: float = 0.1,
        mean: Tensor | None = None,
    ) -> None:
        at_least(1, components=components)
        at_least(2, levels=levels)
        positive(min_scale=min_scale)
        super().__init__(event_shape, features_per_value=3 * components)
        self.components, self.levels, self.min_scale = components, levels, min_scale
        self.is_colour = len(self.event_shape) == 3 and self.event_shape[0] == 3
        if self.is_colour:
            self.feature_shape = (10 * components, *self.event_shape[1:])
        self.spread = nn.Buffer((torch.arange(components) + 0.5) / components - 0.5, persistent=False)
        self.start_at(mean, self._shifted)

    def _shifted(self, mean: Tensor) -> Tensor:
        """All features, locations moved alike by so much that the mixture has this mean."""
        loc = invert(lambda h: self._values(h[:, None] + self.spread, torch.zeros(())).mean.mean(-1), inner(mean), 3.0)
        features = loc.new_zeros(self.feature_shape).unflatten(0, (-1, self.components))
        if self.is_colour:
            features[1:4] = loc.unsqueeze(1)  # red, green and blue
        else:
            features[1] = loc
        return features.flatten(0, 1)

    def _values(self, loc: Tensor, raw: Tensor) -> Rounded:
        return around_middle_grey(loc, raw, self.min_scale, self.levels, LOGISTIC)

    def forward(self, features: Tensor) -> dist.Distribution:
        features = features + self.bias
        return self._colour(features) if self.is_colour else self._grey(features)

    def _grey(self, features: Tensor) -> dist.Distribution:
        planes = features.unflatten(-len(self.feature_shape), (3, self.components))
        logits, loc, raw = planes.movedim(-len(self.event_shape) - 1, -1).unbind(-len(self.event_shape) - 2)
        values = self._values(loc + self.spread, raw)
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), values).to_event(len(self.event_shape))

    def _colour(self, features: Tensor) -> dist.Distribution:
        planes = features.unflatten(-3, (10, self.components))
        logits, rest = planes[..., 0, :, :, :], planes[..., 1:, :, :, :]
        loc, raw, coupling = rest.unflatten(-4, (3, 3)).transpose(-4, -3).unbind(-5)  # each (..., K, 3, H, W)
        channels = self._values(loc + self.spread[:, None, None, None], raw)
        return ColourMixture(logits, channels, torch.tanh(coupling))

    def extra_repr(self) -> str:
        of_values = f"components={self.components}, levels={self.levels}, min_scale={self.min_scale}"
        return f"event_shape={self.event_shape}, {of_values}"
