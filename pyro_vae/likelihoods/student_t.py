"""Student-t likelihood."""

from __future__ import annotations

import math
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..arguments.positive import positive
from ..distributions.gamma_ratio import log_gamma_ratio
from ..distributions.scale import positive_scale
from ..networks import Shape
from .likelihood import LocationScale


class StableStudentT(dist.StudentT):
    """`dist.StudentT` with a normalizer that stays exact at many degrees of freedom, and a mean at any number."""

    @property
    def mean(self) -> Tensor:
        """The location: the mean where there is one (df > 1), the median and mode always."""
        return self.loc

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        t2 = ((value - self.loc) / self.scale).square()
        half = torch.full_like(self.df, 0.5)
        log_normalizer = self.scale.log() + 0.5 * (math.pi * self.df).log() - log_gamma_ratio(self.df / 2, half)
        return -0.5 * (self.df + 1) * torch.log1p(t2 / self.df) - log_normalizer


class StudentT(LocationScale):
    """Independent Student-t real values: heavy tails, for data with gross outliers.

    p(x|z) = prod_d StudentT(x_d; df, h_d, scale_d). With many degrees of freedom it is the Gaussian, with one the
    Cauchy, which has no mean; the distribution's ``mean`` is its location then.

    Args:
        event_shape: shape of one x.
        scale: a number for a fixed scale; "shared" for one learned scale; "per-pixel" for one that the decoder
            gives for each value (features are then (2, *event_shape)).
        min_scale: lower bound of a learned scale.
        df: degrees of freedom, or "learned" for one learned number above 1, from about 5 on.
        mean: mean of the training data, of shape event_shape: where the locations start instead of at 0.

    Example:
        >>> import torch
        >>> StudentT(2, scale=1.0, df=1.0)(torch.zeros(2)).log_prob(torch.zeros(2)).exp()  # 1 / pi^2
        tensor(0.1013)
    """

    def __init__(
        self,
        event_shape: Shape,
        scale: float | Literal["shared", "per-pixel"] = "shared",
        min_scale: float = 0.01,
        df: float | Literal["learned"] = "learned",
        mean: Tensor | None = None,
    ) -> None:
        if isinstance(df, str) and df != "learned":
            raise ValueError(f"Expected df to be a number or 'learned'; got {df!r}.")
        super().__init__(event_shape, scale, min_scale, mean)
        self.df = df
        if isinstance(df, str):
            self.raw_df = nn.Parameter(torch.tensor(4.0))
        else:
            positive(df=df)

    def forward(self, features: Tensor) -> dist.Distribution:
        loc, scale = self.loc_and_scale(features)
        df = features.new_tensor(self.df) if self.df != "learned" else positive_scale(self.raw_df, 1.0)
        return StableStudentT(df, loc, scale).to_event(len(self.event_shape))

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, df={self.df!r}"
