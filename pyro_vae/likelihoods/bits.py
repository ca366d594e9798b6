"""Densities and probabilities of the same grey levels on one scale: bits per dimension."""

from __future__ import annotations

import math

from torch import Tensor

from ..networks import Shape, as_shape


def bits_per_dim(log_prob: Tensor, event_shape: Shape | Tensor, *, dequantized_levels: int | None = None) -> Tensor:
    """Bits for each value of x: -log_prob / (D log 2), plus log2(levels) for a density of dequantized data.

    A probability (discrete likelihoods on grey levels k / 255) needs no correction. A density of data in [0, 1] made by
    `dequantize` does: give the number of levels, 256 for 8-bit images. Lower is better.

    Args:
        log_prob: log p(x) in nats per image, any shape, such as ``log_marginal(...).log_prob``.
        event_shape: shape of one x, or how many values of each x were observed, as a tensor like log_prob.
        dequantized_levels: the levels, if log_prob is a density of dequantized data; None for a probability.

    Example:
        >>> import torch
        >>> bits_per_dim(torch.tensor(-2 * 784 * math.log(2)), (1, 28, 28))  # a probability of 1/4 for each pixel
        tensor(2.)
        >>> bits_per_dim(torch.tensor(0.0), (1, 28, 28), dequantized_levels=256)  # the uniform density on [0, 1]
        tensor(8.)
    """
    count = event_shape if isinstance(event_shape, Tensor) else math.prod(as_shape(event_shape))
    return -log_prob / (count * math.log(2)) + (0.0 if dequantized_levels is None else math.log2(dequantized_levels))
