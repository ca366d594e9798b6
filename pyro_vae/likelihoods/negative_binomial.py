"""Negative binomial likelihood."""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..distributions.gamma_ratio import log_gamma_ratio
from ..distributions.means import log_mean
from ..distributions.scale import bounded_exp
from ..networks import Shape
from .likelihood import CountLikelihood

Dispersion = Literal["shared", "per-pixel"]


class StableNegativeBinomial(dist.NegativeBinomial):
    """`dist.NegativeBinomial` with a normalizer that stays exact near the Poisson limit (a large total_count)."""

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_kernel = self.total_count * functional.logsigmoid(-self.logits) + value * functional.logsigmoid(self.logits)
        return log_kernel + log_gamma_ratio(self.total_count, value) - torch.lgamma(value + 1)


def with_mean(rate: Tensor, raw_dispersion: Tensor) -> StableNegativeBinomial:
    """Mean `rate`, variance rate + rate^2 / r; r = exp(raw_dispersion), between 5e-5 and 2e4."""
    r = bounded_exp(raw_dispersion, bound=10.0)
    return StableNegativeBinomial(r, logits=rate.log() - r.log())


def dispersion_of(kind: Dispersion, event_shape: tuple[int, ...]) -> nn.Parameter | None:
    """The parameter behind a shared dispersion, one for each value of x; None where the decoder gives it."""
    if kind not in ("shared", "per-pixel"):
        raise ValueError(f"Expected dispersion to be 'shared' or 'per-pixel'; got {kind!r}.")
    return nn.Parameter(torch.zeros(event_shape)) if kind == "shared" else None


class NegativeBinomial(CountLikelihood):
    """Counts that vary more than a Poisson: the usual choice for counts of living things, reads or purchases.

    p(x|z) = prod_d NB(x_d; mean m_d, variance m_d + m_d^2 / r_d), m = exp(h + log mean). Large r is the Poisson. Data:
    whole numbers as floats (array files: any type but uint8, which is divided by 255).

    Args:
        event_shape: shape of one x.
        mean: mean of the training data, of shape event_shape: where m starts (at least 0.001) instead of at 1.
        dispersion: "shared" for a learned r for each value of x, the same for all data points; "per-pixel" for an r
            that the decoder gives (features are then (2, *event_shape)). It starts at 1.

    Reference:
        Hilbe 2011, "Negative binomial regression" (the form NB2).

    Example:
        >>> px = NegativeBinomial(3)(torch.zeros(2, 3))
        >>> px.mean[0].tolist(), px.variance[0].tolist()
        ([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])
    """

    def __init__(self, event_shape: Shape, mean: Tensor | None = None, dispersion: Dispersion = "shared") -> None:
        super().__init__(event_shape, features_per_value=1 if dispersion == "shared" else 2)
        self.dispersion = dispersion
        self.start_at(mean, log_mean)
        self.raw_dispersion = dispersion_of(dispersion, self.event_shape)

    def forward(self, features: Tensor) -> dist.Distribution:
        features = features + self.bias
        h, raw = (features, self.raw_dispersion) if self.raw_dispersion is not None else self.split(features)
        return with_mean(bounded_exp(h), raw).to_event(len(self.event_shape))

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, dispersion={self.dispersion!r}"
