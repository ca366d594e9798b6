"""What an estimator of log p(x) returns."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class LogMarginal:
    """Estimates of log p(x), in nats, one for each image, with their errors. Tensors are (N,), float64, on the CPU.

    Attributes:
        log_prob: estimate of log p(x); a stochastic lower bound (its mean lies below log p(x), by about half the
            squared standard error).
        standard_error: Monte Carlo standard error of log_prob, by the delta method from the weights themselves; nan
            with one sample. Trust it only where ess is not small.
        ess: effective sample size of the weights, from 1 (one sample dominates) to num_samples (exact posterior).
        num_samples: samples drawn for each image.
    """

    log_prob: Tensor
    standard_error: Tensor
    ess: Tensor
    num_samples: int

    def __len__(self) -> int:
        return len(self.log_prob)

    @property
    def mean(self) -> float:
        """Mean of log p(x) over the images, in nats per image."""
        return self.log_prob.mean().item()

    @property
    def mean_monte_carlo_error(self) -> float:
        """Standard error of `mean` from the Monte Carlo estimates alone: these images, other samples."""
        return self.standard_error.square().sum().sqrt().item() / len(self)

    @property
    def mean_standard_error(self) -> float:
        """Standard error of `mean` as an estimate for the population: other images, other samples; nan for one image.

        The spread of the estimates over images holds the spread of log p(x) and the Monte Carlo error both.
        """
        return self.log_prob.std().item() / math.sqrt(len(self)) if len(self) > 1 else math.nan

    def __repr__(self) -> str:
        return (
            f"LogMarginal(mean {self.mean:.3f} nats per image, +- {self.mean_standard_error:.3f} over {len(self):,} "
            f"images, +- {self.mean_monte_carlo_error:.3f} Monte Carlo; {self.num_samples:,} samples per image, "
            f"ESS from {self.ess.min().item():.1f} to {self.ess.max().item():.1f})"
        )
