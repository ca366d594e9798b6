"""A mean over data points, with its two errors and its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import scipy.special
import torch
from torch import Tensor


@dataclass(frozen=True)
class Measured:
    """A mean over data points, in nats per data point.

    Attributes:
        value: the mean.
        standard_error: its error for the population, other data points and other samples (the spread over data points
            holds both); nan for one data point.
        monte_carlo_error: its error for these data points, other samples alone; nan with one sample for each of them.
        low, high: 95% interval for the population, Student's t.
    """

    value: float
    standard_error: float
    monte_carlo_error: float
    low: float
    high: float

    def __neg__(self) -> Measured:
        return Measured(-self.value, self.standard_error, self.monte_carlo_error, -self.high, -self.low)

    def __str__(self) -> str:
        errors = f"+- {self.standard_error:.3f} over data points, +- {self.monte_carlo_error:.3f} Monte Carlo"
        return f"{self.value:.3f} {errors}"

    @property
    def interval(self) -> str:
        """The mean and its 95% interval, in words: "-3.00 [-5.12, -1.00]"."""
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def measured(values: Tensor, errors: Tensor, *, shared_error: float = 0.0) -> Measured:
    """The mean of estimates of N data points.

    Args:
        values: one estimate for each data point (N,).
        errors: its Monte Carlo standard error (N,).
        shared_error: standard error of an error that all of them share, which no spread shows.

    Example:
        >>> print(measured(torch.tensor([-1.0, -2.0, -3.0]), torch.full((3,), 0.3)))
        -2.000 +- 0.577 over data points, +- 0.173 Monte Carlo
    """
    values, count = values.double(), len(values)
    spread = (values.var().item() / count, count - 1) if count > 1 else (math.nan, math.inf)
    noise = math.hypot(errors.double().square().sum().sqrt().item() / count, shared_error)
    return with_interval(values.mean().item(), [spread, (shared_error**2, math.inf)], noise)


def measured_draws(draws: Tensor) -> Measured:
    """The mean of draws (K, N), K for each of N data points."""
    draws = draws.double().cpu()
    errors = draws.std(0) / math.sqrt(len(draws)) if len(draws) > 1 else torch.full_like(draws[0], math.nan)
    return measured(draws.mean(0), errors)


def with_interval(
    value: float, variances: Sequence[tuple[float, float]], monte_carlo_error: float, *, level: float = 0.95
) -> Measured:
    """A mean whose variance is a sum of parts, each given with its degrees of freedom (Welch and Satterthwaite)."""
    variance = sum(part for part, _ in variances)
    uncertain = sum(part**2 / degrees for part, degrees in variances)
    # Parts without limit to their degrees of freedom, and none at all, leave the normal distribution's interval.
    upper = (1 + level) / 2
    quantile = scipy.special.ndtri(upper) if uncertain == 0 else scipy.special.stdtrit(variance**2 / uncertain, upper)
    half = float(quantile) * math.sqrt(variance)
    return Measured(value, math.sqrt(variance), monte_carlo_error, value - half, value + half)
