"""Categorical likelihood."""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor

from ..arguments.at_least import at_least
from ..distributions.levels import OnLevels
from ..distributions.means import inner, invert
from ..networks import Shape
from .likelihood import Likelihood


class Ordered(dist.Categorical):
    """`dist.Categorical` whose categories 0, 1, 2, ... are numbers, so that it has a mean."""

    @property
    def mean(self) -> Tensor:
        return self.probs @ torch.arange(self.probs.shape[-1]).to(self.probs)


class Categorical(Likelihood):
    """A free probability of each of 256 (or ``levels``) values: no assumption on their order, for much data.

    p(x|z) = prod_d softmax(h_d)[k_d]. Grey levels come as k / (levels - 1) in [0, 1], the very data that
    `DiscretizedLogistic` takes. Other categories come one-hot along the last dimension, such as (N, length, categories)
    for text. At zero features all are equally likely.

    Args:
        event_shape: shape of one x. Features are (levels, *event_shape), or for one-hot data event_shape itself.
        levels: number of grey levels; not used for one-hot data.
        data: "levels", or "one-hot" where the last dimension of an x says the category.
        mean: mean of the training data, of shape event_shape, where the mean starts (at least 0.001 from its bounds).
            One-hot data start at these frequencies; grey levels, whose frequencies a mean does not tell, at the
            flattest distribution that has it, P(k) proportional to exp(t k).

    Reference:
        van den Oord, Kalchbrenner, Kavukcuoglu 2016, "Pixel recurrent neural networks" (256-way softmax).

    Example:
        >>> import math
        >>> px = Categorical(2)(torch.zeros(256, 2))
        >>> -px.log_prob(torch.tensor([0.0, 100 / 255])) / math.log(2)  # 8 bits for each of two values
        tensor(16.)
        >>> Categorical((5, 3), data="one-hot")(torch.zeros(2, 5, 3)).event_shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        event_shape: Shape,
        levels: int = 256,
        data: Literal["levels", "one-hot"] = "levels",
        mean: Tensor | None = None,
    ) -> None:
        if data not in ("levels", "one-hot"):
            raise ValueError(f"Expected data to be 'levels' or 'one-hot'; got {data!r}.")
        at_least(2, levels=levels)
        super().__init__(event_shape, features_per_value=levels if data == "levels" else 1)
        self.levels, self.data = levels, data
        self.start_at(mean, self._flattest if data == "levels" else lambda mean: inner(mean).log())

    def _flattest(self, mean: Tensor) -> Tensor:
        """t k / (levels - 1), (levels, *event_shape), whose softmax has this mean."""
        values = torch.linspace(0, 1, self.levels, dtype=torch.float64)
        tilts = invert(lambda s: (s.sinh()[:, None] * values).softmax(-1) @ values, inner(mean), bound=8.0).sinh()
        return tilts * values.to(tilts).reshape(-1, *[1] * mean.dim())

    def forward(self, features: Tensor) -> dist.Distribution:
        features = features + self.bias
        if self.data == "one-hot":
            return dist.OneHotCategorical(logits=features).to_event(len(self.event_shape) - 1)
        grey = OnLevels(Ordered(logits=features.movedim(-len(self.feature_shape), -1)), self.levels)
        return grey.to_event(len(self.event_shape))

    def extra_repr(self) -> str:
        detail = f"levels={self.levels}" if self.data == "levels" else "data='one-hot'"
        return f"event_shape={self.event_shape}, {detail}"
