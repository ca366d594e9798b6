"""Grey levels spread over bins, so that densities over them are comparable with probabilities."""

from __future__ import annotations

import functools
from dataclasses import replace

import torch
from torch import Tensor

from .protocol import Data


def dequantize(x: Tensor, levels: int = 256, *, generator: torch.Generator | None = None) -> Tensor:
    """Spread each grey level k / (levels - 1) uniformly over a bin of its own in (0, 1), anew at each call.

    y = (k + u) / levels, u ~ Uniform(0, 1). A density p(y) makes P(k) = levels^-1 E_u[p(y)] a probability of the level,
    for which E_u[log p(y)] - log(levels) is a lower bound (for each value). `dequantized` does it to all of a data set.

    Args:
        x: grey levels of any shape; NaN stays NaN.
        levels: their number.
        generator: of the noise; None for the global one.

    Reference:
        Theis, van den Oord, Bethge 2016, "A note on the evaluation of generative models".

    Example:
        >>> y = dequantize(torch.tensor([0.0, 1.0]), levels=2)
        >>> y[0] < 0.5 < y[1]
        tensor(True)
    """
    noise = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
    y = ((x * (levels - 1)).round() + noise) / levels
    return y.clamp(torch.finfo(y.dtype).tiny, 1 - torch.finfo(y.dtype).eps / 2)  # rounding may reach 0 and 1


def dequantized(data: Data, *, seed: int = 0) -> Data:
    """The data for likelihoods of real values: uniform noise within each grey level, and a protocol that says so.

    Training images keep their levels and get new noise at each visit; validation and test are drawn once.

    Args:
        data: grey levels, not binarized.
        seed: of a generator of its own; the global one is left alone.

    Raises:
        ValueError: the data are binarized, or not known to be grey levels.

    Example:
        >>> grey = torch.full((2, 3), 0.5)
        >>> data = Data(name="grey", train=grey, validation=grey, test=grey, protocol="middle grey", levels=3)
        >>> dequantized(data).protocol  # doctest: +NORMALIZE_WHITESPACE
        'middle grey; dequantized: uniform noise within each of 3 grey levels, training redrawn at each visit,
        validation and test drawn once with seed 0'
    """
    if data.levels is None:
        raise ValueError(
            f"Expected grey levels to dequantize; got {data.name}, whose values are not known to be any: "
            f"{data.protocol}. Give images of 8 bits (arrays: uint8), or leave dequantization out."
        )
    generator = torch.Generator().manual_seed(seed)
    test, validation = (dequantize(x, data.levels, generator=generator) for x in (data.test, data.validation))
    return replace(
        data,
        validation=validation,
        test=test,
        batch_transform=functools.partial(dequantize, levels=data.levels),
        is_dequantized=True,
        protocol=f"{data.protocol}; dequantized: uniform noise within each of {data.levels} grey levels, training "
        f"redrawn at each visit, validation and test drawn once with seed {seed}",
    )
