"""Densities and probabilities of the same grey levels on one scale: dequantization, and bits per dimension."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..networks import Shape, as_shape


def dequantize(x: Tensor, levels: int = 256) -> Tensor:
    """Spread each grey level k / (levels - 1) uniformly over a bin of its own in (0, 1), anew at each call.

    y = (k + u) / levels, u ~ Uniform(0, 1). A density p(y) makes P(k) = levels^-1 E_u[p(y)] a probability of the level,
    for which E_u[log p(y)] - log(levels) is a lower bound (for each value). Give it to `fit` as
    ``visit=dequantize``, and dequantize validation and test images once, with a stated seed.

    Args:
        x: grey levels of any shape.
        levels: their number.

    Reference:
        Theis, van den Oord, Bethge 2016, "A note on the evaluation of generative models".

    Example:
        >>> y = dequantize(torch.tensor([0.0, 1.0]), levels=2)
        >>> y[0] < 0.5 < y[1]
        tensor(True)
    """
    k = (x * (levels - 1)).round()
    y = (k + torch.rand_like(x)) / levels
    return y.clamp(torch.finfo(y.dtype).tiny, 1 - torch.finfo(y.dtype).eps / 2)  # rounding may reach 0 and 1


def bits_per_dim(log_prob: Tensor, event_shape: Shape | Tensor, *, dequantized_levels: int | None = None) -> Tensor:
    """Bits for each value of x: -log_prob / (D log 2), plus log2(levels) for a density of dequantized data.

    A probability (discrete likelihoods on grey levels k / 255) needs no correction. A density of data in [0, 1] made by
    `dequantize` does: give the number of levels, 256 for 8-bit images. Lower is better.

    Args:
        log_prob: log p(x) in nats per image, any shape, such as ``log_marginal(...).log_prob``.
        event_shape: shape of one x, or how many values of each x were observed, as a tensor like log_prob.
        dequantized_levels: the levels, if log_prob is a density of dequantized data; None for a probability.

    Example:
        >>> bits_per_dim(torch.tensor(-2 * 784 * math.log(2)), (1, 28, 28))  # a probability of 1/4 for each pixel
        tensor(2.)
        >>> bits_per_dim(torch.tensor(0.0), (1, 28, 28), dequantized_levels=256)  # the uniform density on [0, 1]
        tensor(8.)
    """
    count = event_shape if isinstance(event_shape, Tensor) else math.prod(as_shape(event_shape))
    return -log_prob / (count * math.log(2)) + (0.0 if dequantized_levels is None else math.log2(dequantized_levels))
