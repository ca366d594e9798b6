"""Discretized logistic likelihood: a probability of each grey level."""

from __future__ import annotations

from ..distributions.rounded import LOGISTIC
from .likelihood import RoundedLikelihood


class DiscretizedLogistic(RoundedLikelihood):
    """Logistic variables rounded to 256 (or ``levels``) grey levels: the first choice for 8-bit images.

    P(x|z) = F(x + w/2) - F(x - w/2), w = 1 / (levels - 1), the edge levels holding the tails; F is the logistic
    distribution function with the location and scale that the decoder gives for each value. Data: k / 255 in [0, 1].
    log p(x|z) is the log of a probability, so that `bits_per_dim` needs no correction.

    Args:
        event_shape: shape of one x; features are (2, *event_shape).
        levels: number of grey levels.
        min_scale: lower bound of the logistic's scale, in units of one level.
        mean: mean of the training data, of shape event_shape (between 0.001 and 0.999): where the mean starts instead
            of at middle grey.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling 2016, "Improved variational inference with
        inverse autoregressive flow"; Salimans, Karpathy, Chen, Kingma 2017, "PixelCNN++" (edge bins).

    Example:
        >>> import torch
        >>> likelihood = DiscretizedLogistic((1, 8, 8))
        >>> likelihood(torch.zeros(5, *likelihood.feature_shape)).event_shape
        torch.Size([1, 8, 8])
    """

    family = LOGISTIC
