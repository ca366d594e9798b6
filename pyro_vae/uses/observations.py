"""What is known of damaged data: observation models p(y|z), made from p(x|z).

An observation is any function from the distribution p(x|z) of a model, with data points in its batch and one x in its
event, to the distribution p(y|z) of what was observed. Those here also say where to begin and how to fill in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor

from ..arguments.at_least import at_least
from ..arguments.positive import positive
from ..distributions.rounded import Rounded
from ..likelihoods.masked import ObservedPart

Observation = Callable[[Any], Any]


@dataclass(frozen=True)
class Inpainting:
    """Some values of x are known, and those that are missing are nan in y: p(y|z) is that of the known ones, exactly.

    Example:
        >>> px = dist.Bernoulli(torch.tensor([[0.5, 0.9]])).to_event(1)
        >>> Inpainting()(px).log_prob(torch.tensor([[1.0, torch.nan]])).exp()
        tensor([0.5000])
    """

    def __call__(self, px: Any) -> Any:
        return px if isinstance(px, ObservedPart) else ObservedPart(px, _filler(px))

    def guess(self, y: Tensor) -> Tensor:
        """An x for the guide: zeros where nothing is known."""
        return torch.where(y.isnan(), torch.zeros_like(y), y)

    def restored(self, px: Any, y: Tensor) -> Tensor:
        """Mean of p(x|z, y): what is known stays."""
        return torch.where(y.isnan(), px.mean, y)


@dataclass(frozen=True)
class Denoising:
    """y = x + noise, each value by itself: a Gaussian of the mean and variance of x plus noise of this scale.

    Exact where p(x|z) is Gaussian. For x of 0 and 1 both are summed over, which is exact, too; else p(y|z) has the
    right mean and variance.

    Args:
        scale: standard deviation of the noise, in units of x.

    Example:
        >>> px = dist.Normal(torch.zeros(1, 2), 3.0).to_event(1)
        >>> Denoising(4.0)(px).variance
        tensor([[25., 25.]])
    """

    scale: float

    def __post_init__(self) -> None:
        positive(scale=self.scale)

    def __call__(self, px: Any) -> Any:
        values, dims = _independent(px)
        if isinstance(values, torch.distributions.Bernoulli):
            both = torch.tensor([0.0, 1.0], device=values.probs.device)
            kinds = dist.Categorical(logits=torch.stack([torch.zeros_like(values.logits), values.logits], -1))
            levels = dist.Normal(both, self.scale).expand([*values.batch_shape, 2])
            return dist.MixtureSameFamily(kinds, levels).to_event(dims)
        mean, variance = _moments(values)
        return dist.Normal(mean, (variance + self.scale**2).sqrt()).to_event(dims)

    def guess(self, y: Tensor) -> Tensor:
        """An x for the guide: y itself."""
        return y

    def restored(self, px: Any, y: Tensor) -> Tensor:
        """Mean of p(x|z, y), by the same Gaussians or sums."""
        values, _ = _independent(px)
        if isinstance(values, torch.distributions.Bernoulli):
            return (values.logits + (y - 0.5) / self.scale**2).sigmoid()
        mean, variance = _moments(values)
        return mean + variance / (variance + self.scale**2) * (y - mean)


@dataclass(frozen=True)
class SuperResolution:
    """y = means of blocks of factor x factor pixels, plus noise: a Gaussian of the right mean and variance.

    Exact where p(x|z) is Gaussian.

    Args:
        factor: pixels along a side of a block, which divides height and width.
        scale: standard deviation of the noise, in units of x.

    Example:
        >>> px = dist.Normal(torch.zeros(1, 1, 4, 4), 2.0).to_event(3)
        >>> SuperResolution(2, 0.01)(px).stddev.squeeze()
        tensor([[1.0000, 1.0000],
                [1.0000, 1.0000]])
    """

    factor: int
    scale: float = 0.01

    def __post_init__(self) -> None:
        at_least(2, factor=self.factor)
        positive(scale=self.scale)

    def __call__(self, px: Any) -> Any:
        values, dims = _independent(px)
        mean, variance = _moments(values)
        scale = (self.reduced(variance) / self.factor**2 + self.scale**2).sqrt()
        return dist.Normal(self.reduced(mean), scale).to_event(dims)

    def reduced(self, x: Tensor) -> Tensor:
        """Means of blocks of images (..., C, H, W).

        Raises:
            ValueError: no images, or the factor does not divide their sides.
        """
        if x.dim() < 3 or any(size % self.factor for size in x.shape[-2:]):
            raise ValueError(
                f"Expected images whose height and width {self.factor} divides; got shape {tuple(x.shape)}. Use "
                f"another factor."
            )
        height, width = x.shape[-2:]
        blocks = x.reshape(*x.shape[:-2], height // self.factor, self.factor, width // self.factor, self.factor)
        return blocks.mean((-3, -1))

    def enlarged(self, y: Tensor) -> Tensor:
        """Each value in all pixels of its block."""
        return y.repeat_interleave(self.factor, -1).repeat_interleave(self.factor, -2)

    def guess(self, y: Tensor) -> Tensor:
        """An x for the guide: large pixels."""
        return self.enlarged(y)

    def restored(self, px: Any, y: Tensor) -> Tensor:
        """Mean of p(x|z, y): what a block has too much or too little of is shared out by the pixels' variances."""
        values, _ = _independent(px)
        mean, variance = _moments(values)
        gain = self.enlarged(1 / (self.reduced(variance) / self.factor**2 + self.scale**2))
        missing = self.enlarged(y - self.reduced(mean))
        return mean + variance / self.factor**2 * gain * missing


def _independent(px: Any) -> tuple[Any, int]:
    """The distribution of single values, and how many of its dimensions one x has; refused where the values depend on
    each other, or have no mean or variance in closed form."""
    px = px.base_dist if isinstance(px, ObservedPart) else px  # of complete data, as all of y is known here
    whole = isinstance(px, dist.Independent)
    values, dims = (px.base_dist, px.reinterpreted_batch_ndims) if whole else (px, 0)
    if not values.event_dim and (isinstance(values, Rounded) or _has_variance(values)):
        return values, dims
    raise TypeError(
        f"Expected p(x|z) of independent values with a mean and a variance; got {type(px).__name__}. Write the "
        f"observation yourself, a function from p(x|z) to the distribution of y, or use a mask."
    )


def _has_variance(values: Any) -> bool:
    try:
        return values.variance is not None
    except NotImplementedError:
        return False


def _moments(values: Any) -> tuple[Tensor, Tensor]:
    """Mean and variance; of grey levels, whose moments are long sums, both from one."""
    return values.moments() if isinstance(values, Rounded) else (values.mean, values.variance)


def _filler(px: Any) -> Tensor:
    """Some x in the support, to stand where values are missing."""
    zeros = torch.zeros(px.event_shape)
    return zeros if px.support.check(zeros).all() else zeros + 0.5
