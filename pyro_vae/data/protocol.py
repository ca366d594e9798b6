"""What every source shares: three checked splits, how they were drawn, and the words that say so."""

import functools
import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from ..arguments.nearest import did_you_mean

Binarization = Literal["none", "threshold", "static", "dynamic"]


class Splits(NamedTuple):
    """One tensor for each of the three splits."""

    train: Tensor
    validation: Tensor
    test: Tensor

    def __repr__(self) -> str:
        return f"Splits({', '.join(f'{part}: {tuple(x.shape)}' for part, x in self._asdict().items())})"


@dataclass(frozen=True, eq=False, kw_only=True)
class Data:
    """Three splits of one data set and the sentence that must travel with every number they give.

    Args:
        name: what the set is called.
        train, validation, test: float32, (N, C, H, W) for images or (N, D) for flat arrays.
        protocol: one line: source, split sizes and how they were made, binarization and its seed.
        labels: integer labels of the three splits, each (N,), where the source has them.
        visit: what a training batch goes through each time it is visited, on the batch's own device, such as
            `torch.bernoulli` where binarization is dynamic, else None. `train` is grey in that case.
        levels: number of grey levels k / (levels - 1) that the values are; None where they are not known to be levels.
        is_dequantized: whether noise was added within the levels, see `pyro_vae.data.dequantized`.
        missing: whether NaN marks a value that is missing; without, NaN is an error.

    Raises:
        ValueError: a split is empty, not float32, not finite, or its items differ in shape from the others'.

    Example:
        >>> x = torch.zeros(2, 1, 4, 4)
        >>> Data(name="blank", train=x, validation=x, test=x, protocol="all zero").event_shape
        (1, 4, 4)
    """

    name: str
    train: Tensor = field(repr=False)
    validation: Tensor = field(repr=False)
    test: Tensor = field(repr=False)
    protocol: str
    labels: Splits | None = field(default=None, repr=False)
    visit: Callable[[Tensor], Tensor] | None = field(default=None, repr=False)
    levels: int | None = field(default=None, repr=False)
    is_dequantized: bool = field(default=False, repr=False)
    missing: bool = field(default=False, repr=False)

    def __post_init__(self) -> None:
        for part, x in self.splits._asdict().items():
            if x.dim() < 2 or x.numel() == 0:
                raise ValueError(f"Expected {part} of shape (N, D) or (N, C, H, W) with N >= 1; got {tuple(x.shape)}.")
            if x.dtype != torch.float32:
                raise ValueError(f"Expected {part} in float32; got {x.dtype}. Convert it with `.float()`.")
            if x.shape[1:] != self.train.shape[1:]:
                raise ValueError(
                    f"Expected {part} items of shape {self.event_shape}, as in train; got {tuple(x.shape[1:])}."
                )
            bad = 0
            if not x.sum().isfinite():  # only then count; the sum alone is ten times as quick
                bad = x.numel() - int(x.isfinite().sum()) - (int(x.isnan().sum()) if self.missing else 0)
            if bad:
                cure = "" if self.missing else ", or, where NaN marks what is missing, add missing=True (--missing)"
                raise ValueError(
                    f"Expected finite values in the {part} split of {self.name}; got {bad:,} "
                    f"{'infinite' if self.missing else 'NaN or infinite'} among {x.numel():,}. Repair or drop those "
                    f"items{cure}."
                )
            labels = None if self.labels is None else getattr(self.labels, part)
            if labels is not None and labels.shape != x.shape[:1]:
                raise ValueError(f"Expected {part} labels of shape ({len(x)},); got {tuple(labels.shape)}.")

    @property
    def splits(self) -> Splits:
        """The three splits together."""
        return Splits(self.train, self.validation, self.test)

    @property
    def event_shape(self) -> tuple[int, ...]:
        """The shape of one x."""
        return tuple(self.train.shape[1:])

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the values and labels of all splits, in hexadecimal: equal for equal data in equal order alone."""
        sha256 = hashlib.sha256()
        for tensor in (*self.splits, *(self.labels or ())):
            array = np.ascontiguousarray(tensor.cpu().numpy())
            sha256.update(f"{array.dtype} {array.shape} ".encode())
            sha256.update(array.data)
        return sha256.hexdigest()

    @property
    def mean(self) -> Tensor:
        """Mean of the training data as they are visited, of the shape of one x: where likelihoods may start.

        Missing values do not count; one that is missing in all images has the mean of all others.
        """
        mean = self.train.nanmean(0) if self.missing else self.train.mean(0)
        if mean.isnan().any():
            mean = mean.where(~mean.isnan(), self.train.nanmean())
        if self.is_dequantized and self.levels:  # training images are still on their levels: the middle of each bin
            mean = (mean * (self.levels - 1) + 0.5) / self.levels
        return mean


def random_split(x: Tensor, sizes: tuple[int, int, int] | None = None, *, seed: int = 0) -> Splits:
    """Split x along its first dimension at random: the same permutation for the same length and seed.

    Args:
        x: (N, ...).
        sizes: items for train, validation and test, N in all; by default 80%, 10% and 10% of N.
        seed: of a generator of its own; the global one is left alone.

    Raises:
        ValueError: the sizes do not add up to N, or N is below 10 and no sizes are given.

    Example:
        >>> [len(part) for part in random_split(torch.arange(25))]
        [21, 2, 2]
    """
    if sizes is None:
        if len(x) < 10:
            raise ValueError(
                f"Expected at least 10 items to split 80/10/10; got {len(x)}. "
                "Add more, or give train, validation and test yourself."
            )
        sizes = (len(x) - 2 * (len(x) // 10), len(x) // 10, len(x) // 10)
    if sum(sizes) != len(x):
        raise ValueError(f"Expected split sizes that add up to {len(x):,}; got {sizes}.")
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return Splits(*x[order].split(sizes))


def binarize(data: Data, binarization: Binarization, *, seed: int = 0) -> Data:
    """Binarize grey images and add to the protocol what was done.

    - `none`: values stay as they are.
    - `threshold`: 1 where the pixel is above 0.5.
    - `static`: every split is drawn once, each pixel with probability equal to its grey level.
    - `dynamic`: training stays grey and is drawn anew by `visit`; validation and test are drawn once, and are
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
            f"Expected pixels in [0, 1] to binarize {data.name}; got values in [{low:g}, {high:g}]. "
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
        protocol = f"{data.protocol}; binarization static: every split drawn once with seed {seed}"
        return replace(data, train=train, validation=validation, test=test, protocol=protocol)
    protocol = (
        f"{data.protocol}; binarization dynamic: training redrawn at each visit, "
        f"validation and test drawn once with seed {seed}"
    )
    return replace(data, validation=validation, test=test, protocol=protocol, visit=draw)


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


def describe_sizes(splits: Splits) -> str:
    """Say how many items each split holds.

    Example:
        >>> describe_sizes(Splits(torch.ones(1200), torch.ones(3), torch.ones(3)))
        '1,200 train / 3 validation / 3 test'
    """
    return " / ".join(f"{len(x):,} {part}" for part, x in splits._asdict().items())


def check_sha256(pixels: np.ndarray, expected: str, *, what: str, cure: str) -> None:
    """Raise a ValueError unless the bytes of `pixels`, in C order, are the published ones."""
    got = hashlib.sha256(np.ascontiguousarray(pixels).data).hexdigest()
    if got != expected:
        raise ValueError(
            f"Expected {what} with the published content (sha256 {expected[:12]}...); got sha256 "
            f"{got[:12]}... in shape {pixels.shape}. The file is incomplete or altered. {cure}"
        )
