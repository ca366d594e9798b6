"""Discretized logistic likelihood: a probability of each grey level."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.utils import broadcast_all
from torch.nn import functional

from ..networks import Shape
from .likelihood import Likelihood


class Levels(constraints.Constraint):
    """Values k / (levels - 1) for k = 0, ..., levels - 1, to within float rounding."""

    is_discrete = True

    def __init__(self, levels: int) -> None:
        self.levels = levels
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        steps = value * (self.levels - 1)
        # 1e-3 of a level: far above the rounding of k / 255 in float32, far below the next level.
        return ((steps - steps.round()).abs() < 1e-3) & (value > -0.5 / self.levels) & (value < 1 + 0.5 / self.levels)


class DiscretizedLogisticDistribution(TorchDistribution):
    """A logistic variable rounded to the nearest of ``levels`` values in [0, 1]; edge levels hold the tails.

    log P(x) = log[F(x + w/2) - F(x - w/2)], w = 1 / (levels - 1), F the logistic distribution function, with
    F(x - w/2) = 0 at x = 0 and F(x + w/2) = 1 at x = 1; so the levels' probabilities sum to 1.
    """

    # Any: the supertype declares these loosely, and a constraint cannot be built before `levels` is known.
    arg_constraints: Any = {"loc": constraints.real, "scale": constraints.positive}  # noqa: RUF012

    def __init__(self, loc: Tensor, scale: Tensor, levels: int = 256, validate_args: bool | None = None) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Levels:
        return Levels(self.levels)

    @property
    def mean(self) -> Tensor:
        """The exact mean of the rounded variable, by the sum over thresholds of P(x >= threshold)."""
        above = (torch.arange(1, self.levels).to(self.loc) - 0.5) / (self.levels - 1)
        survival = torch.sigmoid((self.loc.unsqueeze(-1) - above) / self.scale.unsqueeze(-1))
        return survival.mean(-1)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> DiscretizedLogisticDistribution:
        new = self._get_checked_instance(DiscretizedLogisticDistribution, _instance)
        new.loc, new.scale, new.levels = (
            self.loc.expand(batch_shape),
            self.scale.expand(batch_shape),
            self.levels,
        )
        super(DiscretizedLogisticDistribution, new).__init__(new.loc.shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        u = torch.rand(self._extended_shape(sample_shape), dtype=self.loc.dtype, device=self.loc.device)
        x = self.loc + self.scale * torch.logit(u, eps=torch.finfo(u.dtype).tiny)
        return (x.clamp(0, 1) * (self.levels - 1)).round() / (self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        half = 0.5 / (self.levels - 1)
        upper = (value + half - self.loc) / self.scale
        lower = (value - half - self.loc) / self.scale
        # F(b) - F(a) = F(b) (1 - F(a)) (1 - exp(a - b)): no difference of nearly equal numbers, in any tail. So
        # b - a = w / scale is taken from its formula, too: far from loc the rounded b and a are equal.
        inside = torch.log(-torch.expm1(-2 * half / self.scale))
        log_below, log_above = functional.logsigmoid(upper), functional.logsigmoid(-lower)
        is_first, is_last = value < half, value > 1 - half
        return torch.where(is_first, log_below, torch.where(is_last, log_above, log_below + log_above + inside))


class DiscretizedLogistic(Likelihood):
    """Independent grey levels: each a logistic variable rounded to the nearest of 256 (or ``levels``) values.

    For images with values k / 255 in [0, 1]. log p(x|z) is the log of a probability, so that -log p / (D log 2)
    is in bits per dimension.

    Args:
        event_shape: shape of one x.
        levels: number of grey levels.
        min_scale: lower bound of the logistic's scale, in units of one level.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling 2016, "Improved variational inference with
        inverse autoregressive flow"; Salimans, Karpathy, Chen, Kingma 2017, "PixelCNN++" (edge bins).

    Example:
        >>> likelihood = DiscretizedLogistic((1, 8, 8))
        >>> likelihood(torch.zeros(5, *likelihood.feature_shape)).event_shape
        torch.Size([1, 8, 8])
    """

    cure = (
        "Scale 8-bit images by 1/255 and keep them grey (binarization 'none'), set levels to the number of grey "
        "levels of your data, or take Gaussian for real values."
    )

    def __init__(self, event_shape: Shape, levels: int = 256, min_scale: float = 0.1) -> None:
        if levels < 2:
            raise ValueError(f"Expected levels >= 2; got {levels}.")
        if not min_scale > 0:
            raise ValueError(f"Expected min_scale > 0; got {min_scale}.")
        super().__init__(event_shape, features_per_value=2)
        self.levels = levels
        self.min_scale = min_scale / (levels - 1)
        self.support = Levels(levels)
        self.accepts = f"pixels that are multiples of 1/{levels - 1} in [0, 1]"

    def forward(self, features: Tensor) -> dist.Distribution:
        loc, raw = self.split(features)
        # At zero features: the middle grey, with a scale of about 0.1.
        scale = self.min_scale + functional.softplus(raw - 2.25)
        return DiscretizedLogisticDistribution(loc + 0.5, scale, self.levels).to_event(len(self.event_shape))

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, levels={self.levels}"
