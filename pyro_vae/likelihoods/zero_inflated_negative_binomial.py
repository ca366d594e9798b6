"""Zero-inflated negative binomial likelihood, with an exposure for each observation."""

from __future__ import annotations

import copy
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints
from torch.nn import functional

from ..distributions.means import log_mean
from ..distributions.scale import bounded_exp
from ..networks import Shape
from .likelihood import CountLikelihood
from .negative_binomial import Dispersion, dispersion_of, with_mean

GATE_START = 2.0  # the share of added zeros starts at sigmoid(-2)


class ZeroInflated(dist.ZeroInflatedDistribution):
    """`dist.ZeroInflatedDistribution` that keeps no gate after a draw, as Pyro's does, whose expand then fails."""

    @property
    def gate(self) -> Tensor:
        return torch.sigmoid(self.gate_logits)


class CountsAndExposure(constraints.Constraint):
    """Counts, the last value of each row excepted, which is the row's exposure: any positive number."""

    is_discrete = True
    cure = (
        "The last value of x is taken for its exposure, such as its library size: one above 0 has to be there. Leave "
        "out exposure=True (--likelihood.exposure true) where there is none. All others are raw counts."
    )

    def __str__(self) -> str:
        return "counts 0, 1, 2, ... and a positive exposure as the last value"

    def check(self, value: Tensor) -> Tensor:
        counts = constraints.nonnegative_integer.check(value)
        return torch.cat([counts[..., :-1], value[..., -1:] > 0], -1)


class GivenExposure(TorchDistribution):
    """p(counts | exposure) over rows (*counts, exposure); draws have the reference exposure.

    Args:
        log_rate: log rates at exposure 1, (..., D); raw_dispersion and gate_logits broadcast to it.
        reference: the exposure () of draws and of the mean.
    """

    arg_constraints: Any = {}  # noqa: RUF012 (the supertype declares it loosely)
    support: Any = constraints.independent(CountsAndExposure(), 1)
    num_given = 1  # values of x that no probability is claimed for
    seen: Tensor | None = None  # (..., D) of bool; log_prob is then that of these counts alone

    def __init__(
        self,
        log_rate: Tensor,
        raw_dispersion: Tensor,
        gate_logits: Tensor,
        reference: Tensor,
        validate_args: bool | None = None,
    ) -> None:
        self.parts = torch.broadcast_tensors(log_rate, raw_dispersion, gate_logits)
        self.reference = reference
        super().__init__(log_rate.shape[:-1], torch.Size([log_rate.shape[-1] + 1]), validate_args=validate_args)

    def counts(self, exposure: Tensor) -> Any:
        """The distribution of the counts at exposures (..., 1): batch (..., D)."""
        log_rate, raw_dispersion, gate_logits = self.parts
        rate = bounded_exp(log_rate + exposure.log())
        return ZeroInflated(with_mean(rate, raw_dispersion), gate_logits=gate_logits)

    @property
    def mean(self) -> Tensor:
        means: Tensor = self.counts(self.reference).mean
        return torch.cat([means, self.reference.expand(*self.batch_shape, 1)], -1)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> GivenExposure:
        parts = [part.expand(*batch_shape, -1) for part in self.parts]
        new = GivenExposure(parts[0], parts[1], parts[2], self.reference, self._validate_args)
        new.seen = None if self.seen is None else self.seen.expand(*batch_shape, -1)
        return new

    def observed(self, mask: Tensor) -> GivenExposure:
        """The marginal of the counts where mask (..., D + 1) is true; the exposure is always known."""
        if self._validate_args and not mask[..., -1].all():
            raise ValueError("Expected the exposure of every observation; got one that is missing.")
        new = copy.copy(self)
        new.seen = mask[..., :-1]
        return new

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        counts = self.counts(self.reference).sample(sample_shape)
        return torch.cat([counts, self.reference.expand(*counts.shape[:-1], 1)], -1)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_prob: Tensor = self.counts(value[..., -1:]).log_prob(value[..., :-1])
        return (log_prob if self.seen is None else torch.where(self.seen, log_prob, 0.0)).sum(-1)


class ZeroInflatedNegativeBinomial(CountLikelihood):
    """Counts with more zeros than a negative binomial has: single-cell reads, rare purchases; takes an exposure.

    p(x|z) = prod_d [g_d 1(x_d = 0) + (1 - g_d) NB(x_d; mean m_d, variance m_d + m_d^2 / r_d)], m = exp(h + start),
    g = sigmoid of a feature - 2 (0.12 at zero features).

    Library size. Observations that were counted for longer, or sequenced deeper, have larger counts. Without more
    data, the decoder has to say it by z. With ``exposure=True`` each x carries its exposure l > 0 as its last value,
    (D counts, l); the rates become l exp(h + start), and log p(x|z) is that of the counts given l: l is a covariate,
    like the number of reads over all genes, for which no probability is claimed. If l is the sum of these very counts,
    given l they could not be independent: log p(x|z) is then an approximation, usual in single-cell work, not to be
    compared with models that do not see l. The encoder sees l too. Draws have the mean exposure.

    Args:
        event_shape: shape of one x; (D + 1,) with exposure.
        mean: mean of the training data, of shape event_shape: where the mean starts (at least 0.001), at the mean
            exposure. Without it, m starts at 1, for an exposure of 1.
        dispersion: "shared" for a learned r for each count, the same for all observations; "per-pixel" for an r that
            the decoder gives, as one feature more for each count.
        exposure: whether the last value of each x is its exposure.

    Reference:
        Lopez, Regier, Cole, Jordan, Yosef 2018, "Deep generative modeling for single-cell transcriptomics".

    Example:
        >>> counts = torch.tensor([[0.0, 3.0, 7.0], [1.0, 0.0, 0.0]])
        >>> x = torch.cat([counts, counts.sum(1, keepdim=True)], 1)
        >>> likelihood = ZeroInflatedNegativeBinomial(4, mean=x.mean(0), exposure=True)
        >>> likelihood(torch.zeros(2, *likelihood.feature_shape)).log_prob(x).shape
        torch.Size([2])
    """

    def __init__(
        self, event_shape: Shape, mean: Tensor | None = None, dispersion: Dispersion = "shared", exposure: bool = False
    ) -> None:
        super().__init__(event_shape, features_per_value=2 if dispersion == "shared" else 3)
        self.dispersion, self.exposure = dispersion, exposure
        shape = self.event_shape
        if exposure:
            if len(shape) != 1 or shape[0] < 2:
                raise ValueError(f"Expected event_shape (D + 1,), D counts and their exposure; got {shape}.")
            shape = (shape[0] - 1,)
            self.feature_shape = (self.feature_shape[0], *shape)
        self.raw_dispersion = dispersion_of(dispersion, shape)
        self.start_at(mean, self._log_rate)
        reference = torch.ones(()) if mean is None or not exposure else mean[..., -1].clone()
        self.reference = nn.Buffer(reference)  # exposure of draws

    def _log_rate(self, mean: Tensor) -> Tensor:
        """The log rate at exposure 1 with which the counts, zeros put in, have this mean."""
        log_rate = log_mean(mean) - functional.logsigmoid(torch.tensor(GATE_START))
        return log_rate[:-1] - mean[-1].log() if self.exposure else log_rate

    def forward(self, features: Tensor) -> dist.Distribution:
        h, gate, *given = self.split(features + self.bias)
        raw = given[0] if self.raw_dispersion is None else self.raw_dispersion
        if self.exposure:
            return GivenExposure(h, raw, gate - GATE_START, self.reference)
        counts = ZeroInflated(with_mean(bounded_exp(h), raw), gate_logits=gate - GATE_START)
        return counts.to_event(len(self.event_shape))

    def extra_repr(self) -> str:
        return f"event_shape={self.event_shape}, dispersion={self.dispersion!r}, exposure={self.exposure}"
