"""Discretized Gaussian likelihood: a probability of each grey level, with light tails."""

from __future__ import annotations

from ..distributions.rounded import NORMAL
from .likelihood import RoundedLikelihood


class DiscretizedGaussian(RoundedLikelihood):
    """Gaussian variables rounded to 256 (or ``levels``) grey levels: 8-bit images as diffusion models score them.

    P(x|z) = Phi((x + w/2 - loc) / scale) - Phi((x - w/2 - loc) / scale), w = 1 / (levels - 1), the edge levels holding
    the tails. Data: k / 255 in [0, 1]. Its tails are light: one pixel far off costs much more than it does under
    `DiscretizedLogistic`.

    Args:
        event_shape: shape of one x; features are (2, *event_shape), location and scale before their bounds.
        levels: number of grey levels.
        min_scale: lower bound of the scale, in units of one level.
        mean: mean of the training data, of shape event_shape (between 0.001 and 0.999): where the mean starts instead
            of at middle grey.

    Reference:
        Ho, Jain, Abbeel 2020, "Denoising diffusion probabilistic models" (its decoder).

    Example:
        >>> import torch
        >>> px = DiscretizedGaussian(3, levels=17)(torch.zeros(2, 3))
        >>> px.mean
        tensor([0.5000, 0.5000, 0.5000])
    """

    family = NORMAL
