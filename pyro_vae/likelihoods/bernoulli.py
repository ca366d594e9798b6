"""Bernoulli likelihood."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from ..distributions.means import inner
from ..networks import Shape
from .likelihood import Likelihood


class Bernoulli(Likelihood):
    """Independent pixels that are 0 or 1: the standard likelihood of binarized images.

    p(x|z) = prod_d Bernoulli(x_d; sigmoid(h_d + b_d)).

    Args:
        event_shape: shape of one x.
        mean: mean of the training data, of shape event_shape. The output then starts at it, b = logit(mean),
            instead of at one half everywhere; the decoder's own bias is trained on top. Means of pixels that
            are never (or always) on are clipped to [0.001, 0.999], so that their logits stay finite.

    Reference:
        Output bias at the logit of the data's mean: Burda, Grosse, Salakhutdinov 2016, "Importance weighted
        autoencoders".

    Example:
        >>> px = Bernoulli((1, 8, 8))(torch.zeros(5, 1, 8, 8))
        >>> px.batch_shape, px.event_shape
        (torch.Size([5]), torch.Size([1, 8, 8]))
    """

    def __init__(self, event_shape: Shape, mean: Tensor | None = None) -> None:
        super().__init__(event_shape)
        self.start_at(mean, lambda mean: torch.logit(inner(mean)))

    def forward(self, features: Tensor) -> dist.Distribution:
        return dist.Bernoulli(logits=features + self.bias).to_event(len(self.event_shape))
