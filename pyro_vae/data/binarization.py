"""Grey levels as probabilities of a pixel being 1."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal, get_args

import torch
from torch import Tensor

from ..arguments.nearest import did_you_mean
from .protocol import Data

Binarization = Literal["none", "threshold", "static", "dynamic"]


def binarize(data: Data, binarization: Binarization, *, seed: int = 0) -> Data:
    """Binarize grey images and add to the protocol what was done.

    - `none`: values stay as they are.
    - `threshold`: 1 where the pixel is above 0.5.
    - `static`: every split is drawn once, each pixel with probability equal to its grey level.
    - `dynamic`: training stays grey and is drawn anew by `batch_transform`; validation and test are drawn once, and are
      the same as under `static` with the same seed.

    Images that are 0 or 1 already stay as they are whatever is asked.

    Args:
        data: the set with its grey pixels, in [0, 1] unless `binarization` is `none`.
        binarization: one of the four above.
        seed: of a generator of its own; the global one is left alone.

    Raises:
        ValueError: unknown binarization, or pixels to binarize outside [0, 1].

    Example:
        >>> grey = torch.full((2, 3), 0.25)
        >>> data = Data(name="grey", train=grey, validation=grey, test=grey, protocol="one grey")
        >>> binarize(data, "threshold").protocol
        'one grey; binarization threshold: 1 where the pixel is above 0.5'
    """
    check_binarization(binarization)
    if all(bool(((x == 0) | (x == 1) | x.isnan()).all()) for x in data.splits):
        return replace(data, levels=None, protocol=f"{data.protocol}; pixels are 0 or 1 as stored, not binarized again")
    low = min(float(x.nan_to_num(math.inf).min()) for x in data.splits)
    high = max(float(x.nan_to_num(-math.inf).max()) for x in data.splits)
    in_range = low >= 0 and high <= 1
    if binarization == "none":
        values = "grey levels in [0, 1]" if in_range else f"values in [{low:g}, {high:g}]"
        return replace(data, protocol=f"{data.protocol}; {values}, not binarized")
    if not in_range:
        raise ValueError(
            f"Expected pixels in [0, 1] to binarize {data.name!r}; got values in [{low:g}, {high:g}]. "
            "Rescale them, or use binarization='none' and a likelihood for such values."
        )
    data = replace(data, levels=None)
    if binarization == "threshold":
        train, validation, test = ((x > 0.5).float().where(~x.isnan(), x) for x in data.splits)
        protocol = f"{data.protocol}; binarization threshold: 1 where the pixel is above 0.5"
        return replace(data, train=train, validation=validation, test=test, protocol=protocol)
    generator = torch.Generator().manual_seed(seed)
    # Training last, so that static and dynamic runs are evaluated on the very same pixels.
    draw = bernoulli_where_known if data.missing else torch.bernoulli
    test = draw(data.test, generator=generator)
    validation = draw(data.validation, generator=generator)
    if binarization == "static":
        train = draw(data.train, generator=generator)
        what = "" if data.is_whole else "every split "
        protocol = f"{data.protocol}; binarization static: {what}drawn once with seed {seed}"
        return replace(data, train=train, validation=validation, test=test, protocol=protocol)
    # Whole data are for a trained model to be used on.
    drawn = "drawn once" if data.is_whole else "training redrawn at each visit, validation and test drawn once"
    protocol = f"{data.protocol}; binarization dynamic: {drawn} with seed {seed}"
    return replace(data, validation=validation, test=test, protocol=protocol, batch_transform=draw)


def bernoulli_where_known(x: Tensor, *, generator: torch.Generator | None = None) -> Tensor:
    """`torch.bernoulli`, but NaN stays NaN."""
    return torch.bernoulli(x.nan_to_num(0.0), generator=generator).where(~x.isnan(), x)


def check_binarization(binarization: str) -> None:
    """Raise a ValueError that offers the nearest name unless the binarization is a known one."""
    known = get_args(Binarization)
    if binarization not in known:
        raise ValueError(
            f"Expected binarization to be one of {', '.join(known)}; got {binarization!r}."
            f"{did_you_mean(binarization, known)}"
        )
