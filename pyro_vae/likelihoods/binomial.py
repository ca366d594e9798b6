"""Binomial likelihood."""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional

from ..arguments.at_least import at_least
from ..distributions.levels import OnLevels
from ..distributions.means import inner
from ..networks import Shape
from .likelihood import Likelihood


class ExactBinomial(dist.Binomial):
    """`dist.Binomial` with its coefficient taken in float64: differences of large lgamma lose digits in float32."""

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        n, k = self.total_count.double(), value.double()
        log_choose = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
        return log_choose.to(self.logits) + value * self.logits - self.total_count * functional.softplus(self.logits)


class Binomial(Likelihood):
    """Successes out of a known number of trials, such as counts out of 255 for 8-bit pixels: one feature each.

    p(x|z) = prod_d Binomial(k_d; n, sigmoid(h_d)), k = n x. Its spread is fixed by its mean, which is narrow for
    grey pixels: `DiscretizedLogistic` fits images better.

    Args:
        event_shape: shape of one x.
        total_count: n.
        data: "levels" for x = k / n in [0, 1], like k / 255 of 8-bit images; "counts" for x = k.
        mean: mean of the training data, of shape event_shape: where the mean starts (between 0.001 n and 0.999 n)
            instead of at n / 2.

    Example:
        >>> import torch
        >>> Binomial(2, total_count=4)(torch.zeros(2)).log_prob(torch.tensor([0.5, 0.0])).exp()  # 6 / 16 / 16
        tensor(0.0234)
    """

    def __init__(
        self,
        event_shape: Shape,
        total_count: int = 255,
        data: Literal["levels", "counts"] = "levels",
        mean: Tensor | None = None,
    ) -> None:
        at_least(1, total_count=total_count)
        if data not in ("levels", "counts"):
            raise ValueError(f"Expected data to be 'levels' or 'counts'; got {data!r}.")
        super().__init__(event_shape)
        self.total_count, self.data = total_count, data
        largest = 1 if data == "levels" else total_count
        self.start_at(mean, lambda mean: torch.logit(inner(mean / largest)))

    def forward(self, features: Tensor) -> dist.Distribution:
        counts = ExactBinomial(features.new_tensor(self.total_count), logits=features + self.bias)
        values = counts if self.data == "counts" else OnLevels(counts, self.total_count + 1)
        return values.to_event(len(self.event_shape))

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, total_count={self.total_count}, data={self.data!r}"
