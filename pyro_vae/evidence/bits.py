"""Bits per dimension: densities and probabilities of the same grey levels on one scale."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..data import Data
from ..networks import Shape, as_shape
from .measured import measured


def bits_per_dim(log_prob: Tensor, event_shape: Shape | Tensor, *, dequantized_levels: int | None = None) -> Tensor:
    """Bits for each value of x: -log_prob / (D log 2), plus log2(levels) for a density of dequantized data.

    A probability (discrete likelihoods on grey levels k / 255) needs no correction. A density of data in [0, 1] made by
    `dequantize` does: give the number of levels, 256 for 8-bit images. Lower is better.

    Args:
        log_prob: log p(x) in nats per data point, any shape, such as ``log_marginal(...).log_prob``.
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


def bits_of(log_prob: Tensor, x: Tensor, dataset: Data, *, measure: str, num_values: int) -> dict[str, float]:
    """Mean of bits per dimension over data points x (N, ...) of a data set, and its standard error; nothing for a
    density of other than the grey levels of x.

    Args:
        log_prob: log-probability of the observed values of each data point, (N,) in nats; NaN in x stands for others.
        measure: of `LogMarginal`.
        num_values: how many values log_prob is of, those that are missing among them: an exposure is not.

    Example:
        >>> x = torch.zeros(3, 1, 8, 8)
        >>> data = Data(name="black", train=x, validation=x, test=x, protocol="all zero")
        >>> bits_of(torch.full((3,), -64 * math.log(2)), x, data, measure="probability", num_values=64)
        {'bits_per_dim': 1.0, 'bits_per_dim_standard_error': 0.0}
        >>> bits_of(torch.zeros(3), x, data, measure="density", num_values=64)
        {}
    """
    of_levels = measure == "density" and dataset.is_dequantized and num_values == x[0].numel()
    if measure != "probability" and not of_levels:
        return {}
    observed = (num_values - x.isnan().flatten(1).sum(1)).clamp(min=1).to(log_prob.device)
    levels = dataset.levels if of_levels else None
    bits = measured(bits_per_dim(log_prob.double(), observed, dequantized_levels=levels), torch.zeros(len(x)))
    return {"bits_per_dim": bits.value, "bits_per_dim_standard_error": bits.standard_error}


def said_in_bits(about: dict[str, Any]) -> str:
    """A line on them, from what an evaluation has written; empty where it has written none, or none that is finite.

    Example:
        >>> said_in_bits({"bits_per_dim": 1.0, "bits_per_dim_standard_error": 0.25, "measure": "probability"})
        'bits   1.000 per dimension, +- 0.250 standard error over data points\\n'
    """
    value, error = about.get("bits_per_dim"), about.get("bits_per_dim_standard_error")
    if value is None:  # not written, or not finite
        return ""
    of = "" if about["measure"] == "probability" else " of the grey levels, at most (dequantized)"
    spread = "" if error is None else f", +- {error:.3f} standard error over data points"
    return f"bits   {value:.3f} per dimension{of}{spread}\n"
