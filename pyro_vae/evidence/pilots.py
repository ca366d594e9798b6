"""What a pilot of log weights, thrown away afterwards, says of a proposal."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .exploring import NEGLIGIBLE
from .gaussian_fit import Gaussians
from .pareto import pareto_khat, tail_length
from .weights import Moments

ENOUGH = 0.6  # k-hat of a pilot up to which it is


class LeftOut(NamedTuple):
    """What a proposal leaves out at the modes that were found beside it."""

    share: Tensor  # of the evidence, where the proposal hardly draws (B,); nan where that could not be told
    there: Gaussians | None  # fitted to it, where that share is more than negligible
    fits: Tensor  # number of those that it took (B,)

    @property
    def much(self) -> Tensor:
        """Whether the share may be more than negligible (B,)."""
        return ~(self.share <= NEGLIGIBLE)


class Pilot(NamedTuple):
    """What a pilot says of a proposal for each data point, and its draws."""

    good: Tensor  # whether the proposal will do (B,)
    left_out: LeftOut  # of the modes that were found by climbing
    u: Tensor  # draws (K, B, D)
    log_weights: Tensor  # (K, B)


def good_enough(log_weights: Tensor, *, least_ess: float = 0.0) -> Tensor:
    """Whether a pilot's log weights (K, B) promise an estimate to be trusted, (B,): by k-hat and, for that alone is a
    noisy witness, by a least effective sample size, as a share of K."""
    ess = Moments.empty(log_weights.shape[1], log_weights.device).plus(log_weights).ess
    return ((pilot_khat(log_weights) < ENOUGH) & (ess > least_ess * len(log_weights))) | (
        ess > (1 + least_ess) / 2 * len(log_weights)
    )


def missed(alone: Tensor, exploring: Tensor) -> Tensor:
    """Whether a proposal that explores finds more mass than one alone, by their log weights (K, B)."""
    means, errors = [], []
    for log_weights in (alone, exploring):
        moments = Moments.empty(log_weights.shape[1], log_weights.device).plus(log_weights)
        means.append(moments.log_mean(len(log_weights)))
        errors.append(moments.relative_error(len(log_weights)))
    return means[1] - means[0] > 3 * torch.hypot(*errors)


def foreseen_ess(log_weights: Tensor, exploring: Tensor) -> Tensor:
    """Effective sample size of a proposal, as a share of its samples (B,), from draws of another one that explores: by
    the log weights there under either (K, B). It sees tails that the proposal's own draws hardly visit.

    E_q[w]^2 / E_q[w^2] = E_r[v]^2 / E_r[v w],  w the weights of q, v those of the draws' own r
    """
    count = math.log(len(exploring))
    first, second = exploring.logsumexp(0) - count, (exploring + log_weights).logsumexp(0) - count
    return (2 * first - second).exp()


def needed(log_weights: Tensor, num_samples: int, target: float | None, most: int) -> Tensor:
    """Samples (B,) that bring the standard error to the target, by a pilot's log weights (K, B): num_samples, doubled
    as often as it takes."""
    count = torch.full_like(log_weights[0], num_samples, dtype=torch.int64)
    if target is not None:
        moments = Moments.empty(log_weights.shape[1], log_weights.device).plus(log_weights)
        variance = moments.relative_error(len(log_weights)).square() * len(log_weights)
        ratio = (variance / (0.9 * target) ** 2 / num_samples).nan_to_num(math.inf, math.inf).clamp(min=1)
        count = (num_samples * 2 ** ratio.log2().ceil().clamp(max=60)).clamp(max=most).long()
    return count


def pilot_khat(log_weights: Tensor) -> Tensor:
    """k-hat (B,) of all of the log weights (K, B)."""
    return pareto_khat(log_weights.topk(min(tail_length(len(log_weights)) + 1, len(log_weights)), 0).values)
