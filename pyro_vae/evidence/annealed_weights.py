"""Weights of annealed chains along their temperatures, with or without resampling on the way."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .annealing_path import State

FEWEST_FIRST_DRAWS = 10  # that all chains descend from, below which their sums say little of their own spread
Move = Callable[[State, int], tuple[State, Tensor]]


class Resampling(NamedTuple):
    """When chains are drawn anew by weight: below which effective sample size, as a share of their number; and a number
    in (0, 1) for each data point (B,), given that of the temperature."""

    share: float
    uniform: Callable[[int], Tensor]


def annealed_weights(
    state: State,
    temperatures: Tensor,
    move: Move,
    *,
    watch: Callable[[State, Tensor], Any] | None = None,
    resampling: Resampling | None = None,
) -> tuple[Tensor, Tensor]:
    """Log weights (K, B), float64, of chains with so many temperatures (T + 1, B), and mean acceptance (B,), nan
    without a transition.

    With resampling, where the effective sample size of a data point falls below that share of K, its chains are drawn
    anew by weight (systematically), and go on with equal ones: sequential Monte Carlo. Chains are then no longer
    independent. A weight is therefore the sum over all that descend from one of the first draws, 0 where none does: the
    mean weight is the same, and k-hat, effective sample size and standard error see how few first draws all is made
    from. The error is a little too large, by about n / 2K of it at most after n resamplings.

    Args:
        state: where the chains start, rows K B.
        move: a transition at the temperature of a number, from 1 to T - 1; the next state, and acceptance (B,).
        watch: called at each temperature but the last, with the state there and log weights (R,) up to there.

    Reference:
        Neal 2001, "Annealed importance sampling"; Del Moral, Doucet, Jasra 2006, "Sequential Monte Carlo samplers";
        Lee, Whiteley 2018, "Variance estimation in the particle filter" (errors from first ancestors).
    """
    num_points = temperatures.shape[1]
    change = temperatures.diff(dim=0).repeat(1, len(state.u) // num_points)  # (T, R)
    log_weight = torch.zeros_like(change[0])
    acceptances, ancestry = [], None
    for number, part in enumerate(change):
        if number:
            state, acceptance = move(state, number)
            acceptances.append(acceptance)
        if watch is not None:
            watch(state, log_weight)
        log_weight = log_weight + part * state.log_ratio.double()
        if resampling is not None and number < len(change) - 1:
            ancestry = ancestry or Ancestry(log_weight.view(-1, num_points))
            state, log_weight = ancestry.resampled(state, log_weight, resampling.share, resampling.uniform(number))
    mean = torch.stack(acceptances).mean(0) if acceptances else change.new_full((num_points,), math.nan)
    log_weight = log_weight.view(-1, num_points)
    return log_weight if ancestry is None else ancestry.of_first_draws(log_weight), mean


class Ancestry:
    """Which first draw each chain (K, B) descends from, and the log mean weights that resampling has taken out."""

    def __init__(self, log_weight: Tensor) -> None:
        self.own = torch.arange(len(log_weight), device=log_weight.device)[:, None].expand_as(log_weight)
        self.first, self.taken_out = self.own, torch.zeros_like(log_weight[0])

    def resampled(self, state: State, log_weight: Tensor, share: float, uniform: Tensor) -> tuple[State, Tensor]:
        """State and log weights (R,), with the chains of data points whose weights have grown uneven drawn anew."""
        weights = log_weight.view(self.own.shape)
        count, total = len(weights), weights.logsumexp(0)
        uneven = 2 * total - (2 * weights).logsumexp(0) < math.log(share * count)  # not where all weights are 0
        if not uneven.any():
            return state, log_weight
        shares = weights.softmax(0).cumsum(0)
        places = (torch.arange(count, device=uniform.device)[:, None] + uniform.double()) / count
        drawn = torch.searchsorted((shares / shares[-1]).T.contiguous(), places.T.contiguous()).T.clamp(max=count - 1)
        parents = torch.where(uneven, drawn, self.own)
        self.first = self.first.gather(0, parents)
        self.taken_out = torch.where(uneven, self.taken_out + total - math.log(count), self.taken_out)
        rows = (parents * len(uneven) + torch.arange(len(uneven), device=uneven.device)).flatten()
        return State(*(part[rows] for part in vars(state).values())), torch.where(uneven, 0.0, weights).flatten()

    def of_first_draws(self, log_weight: Tensor) -> Tensor:
        """The log of the sum of the weights (K, B) that descend from each of the first draws (K, B)."""
        largest = log_weight.amax(0)
        largest = torch.where(largest.isfinite(), largest, 0.0)
        sums = torch.zeros_like(log_weight).scatter_add(0, self.first, (log_weight - largest).exp())
        return sums.log() + largest + self.taken_out
