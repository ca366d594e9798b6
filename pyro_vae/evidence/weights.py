"""Importance weights of a stream of samples, summed up for each data point in bounded memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .limits import FEWEST, HOPELESS
from .pareto import pareto_khat, tail_length
from .result import LogMarginal

FEWEST_OF_STRATUM = 10  # draws from a proposal from which their variance is estimated by itself


def zero_for_nan(log_weights: Tensor) -> Tensor:
    """Log weights, with 0 for a weight that is no number."""
    return log_weights.nan_to_num(-math.inf, math.inf, -math.inf)


@dataclass(frozen=True)
class Moments:
    """Sums of weights w and w^2 of each data point, relative to the largest so far; (N,), float64."""

    largest: Tensor  # log w
    first: Tensor
    second: Tensor

    @staticmethod
    def empty(num_points: int, device: torch.device | None = None) -> Moments:
        zeros = torch.zeros(num_points, dtype=torch.float64, device=device)
        return Moments(torch.full_like(zeros, -math.inf), zeros, zeros.clone())

    def __getitem__(self, points: Any) -> Moments:
        return Moments(self.largest[points], self.first[points], self.second[points])

    def __setitem__(self, points: Any, other: Moments) -> None:
        for name, value in vars(other).items():
            getattr(self, name)[points] = value

    def plus(self, log_weights: Tensor) -> Moments:
        """With log weights (K, N) added."""
        log_weights = log_weights.double()
        largest = torch.maximum(self.largest, log_weights.amax(0))
        # A data point whose weights are all zero so far has nothing to rescale: 0 stays the reference.
        reference = torch.where(largest.isinf(), 0.0, largest)
        shrink = (self.largest - reference).exp()
        weights = (log_weights - reference).exp()
        return Moments(
            largest, self.first * shrink + weights.sum(0), self.second * shrink.square() + weights.square().sum(0)
        )

    @property
    def ess(self) -> Tensor:
        """Effective sample size."""
        return self.first.square() / self.second

    def log_mean(self, count: int) -> Tensor:
        """Log of the mean of so many weights."""
        return self.largest + self.first.log() - math.log(count)

    def relative_error(self, count: int) -> Tensor:
        """Standard error of the mean weight, relative to it; nan for one sample, as it should be."""
        excess = (count / self.ess - 1).clamp(min=0)  # E[w^2] / E[w]^2 - 1
        return (excess / (count - 1)).sqrt() if count > 1 else excess * math.nan


def error_of_strata(strata: Sequence[Moments], counts: Sequence[int]) -> Tensor | None:
    """Standard error of the mean weight, relative to it, where the numbers of draws from several proposals are fixed;
    None where one has too few draws for a variance of its own.

    What the means of the proposals differ by does not vary from one estimate to the next: the error is the smaller one
    of draws that are stratified.
    """
    drawn = [(part, count) for part, count in zip(strata, counts, strict=True) if count]
    if any(count < FEWEST_OF_STRATUM for _, count in drawn):
        return None
    largest = torch.stack([part.largest for part, _ in drawn]).amax(0)
    reference = torch.where(largest.isinf(), 0.0, largest)
    total, variance = torch.zeros_like(reference), torch.zeros_like(reference)
    for part, count in drawn:
        scale = torch.where(part.largest.isinf(), 0.0, (part.largest - reference).exp())
        within = (part.second - part.first.square() / count).clamp(min=0) * count / (count - 1)
        total, variance = total + scale * part.first, variance + scale.square() * within
    return variance.sqrt() / total


class WeightSum:
    """All that a result needs of the weights: their moments, the largest ones, and their means 10, 100, ... at a time.

    Exactly ``num_samples`` weights of each data point have to be added before `result`.
    """

    def __init__(self, num_points: int, num_samples: int, device: torch.device | None = None) -> None:
        self.num_samples, self.added = num_samples, 0
        self.moments = Moments.empty(num_points, device)
        self.tail = self.moments.first.new_empty(0, num_points)
        self.levels = [_Level(self.moments.first) for _ in range(len(str(num_samples)))]

    def add(self, log_weights: Tensor) -> None:
        """Take in log weights (K, N)."""
        rows = log_weights.double()
        self.moments = self.moments.plus(rows)
        kept = torch.cat([self.tail, rows])
        most = min(tail_length(self.num_samples) + 1, len(kept))  # one more than the tail: the threshold it begins at
        self.tail = kept.topk(most, 0, sorted=False).values
        self.added += len(rows)
        for level in self.levels:
            rows = level.add(rows)

    def result(self, error: Tensor | None = None) -> LogMarginal:
        """The estimates of log mean w, with errors, of independent draws unless they are given, and diagnostics."""
        count, moments = self.num_samples, self.moments
        assert self.added == count, f"{self.added} weights added, {count} announced"
        log_prob = moments.log_mean(count)
        error = moments.relative_error(count) if error is None else error
        levels = {10**i: level.result() for i, level in enumerate(self.levels) if 10**i < count}
        levels[count] = log_prob, error
        khat = pareto_khat(self.tail)
        if count >= FEWEST:  # a few large weights among equal ones: there is no tail to fit, and nothing to trust
            khat = torch.where(khat.isnan() & (moments.ess < FEWEST), HOPELESS, khat)
        return LogMarginal(
            log_prob.cpu(),
            error.cpu(),
            moments.ess.cpu(),
            khat.cpu(),
            torch.full((len(error),), count),
            log_levels={k: (value.cpu(), error.cpu()) for k, (value, error) in levels.items()},
            details={"jackknife": self._jackknife(log_prob).cpu()},
        )

    def _jackknife(self, log_prob: Tensor) -> Tensor:
        """K L - (K - 1) mean of the L without one weight, L the log mean weight: log p(x) with a bias of order 1 / K^2.

        Without weight k, a share p_k of the sum, L changes by log(1 - p_k) + log(K / (K - 1)). The largest weights
        enter as they are; of the others sums of p and p^2 are known, which as many equal ones would have.
        """
        count, moments = self.num_samples, self.moments
        if count < 2:
            return log_prob * math.nan
        reference = torch.where(moments.largest.isfinite(), moments.largest, 0.0)
        tail = ((self.tail - reference).exp() / moments.first).clamp(max=1.0)
        first = (1 - tail.sum(0)).clamp(min=0)
        second = (moments.second / moments.first.square() - tail.square().sum(0)).clamp(min=0)
        size = torch.where(first > 0, second / first, 0.0).clamp(max=1 - 1e-12)
        rest = torch.where(size > 0, first * torch.log1p(-size) / size, -first)
        change = (torch.log1p(-tail).sum(0) + rest) / count + math.log(count / (count - 1))
        return log_prob - (count - 1) * change


class _Level:
    """Mean and error of log mean w over groups of samples; ten groups make one group of the next level."""

    def __init__(self, like: Tensor) -> None:
        self.count = 0
        self.total, self.squares = torch.zeros_like(like), torch.zeros_like(like)
        self.origin = torch.zeros_like(like)  # sums are relative to the first value, which keeps the squares exact
        self.waiting = like.new_empty(0, len(like))

    def add(self, rows: Tensor) -> Tensor:
        """Take in values (R, N); returns the log means of each ten that are complete, (R // 10, N)."""
        if len(rows):
            if not self.count:
                self.origin = torch.where(rows[0].isfinite(), rows[0], 0.0)
            centred = rows - self.origin
            self.count += len(rows)
            self.total, self.squares = self.total + centred.sum(0), self.squares + centred.square().sum(0)
        rows = torch.cat([self.waiting, rows])
        full = len(rows) // 10 * 10
        self.waiting = rows[full:].clone()  # not a view, that would hold all rows
        return rows[:full].unflatten(0, (full // 10, 10)).logsumexp(1) - math.log(10)

    def result(self) -> tuple[Tensor, Tensor]:
        """Mean over the groups, and its standard error (nan for one group)."""
        mean = self.total / self.count
        variance = (self.squares / self.count - mean.square()).clamp(min=0) / max(self.count - 1, 1)
        return self.origin + mean, variance.sqrt() if self.count > 1 else mean * math.nan
