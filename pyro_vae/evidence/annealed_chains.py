"""Annealed chains of a pair: their starts, their warm-up, and their weights."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

from ..compiled.when_it_pays import SAVED_PER_GRADIENT, compile_if_worthwhile
from ..pairs.batch import Points
from ..pairs.contexts import unvalidated
from ..pairs.modules import Callee
from .annealed_weights import FEWEST_FIRST_DRAWS, Resampling, annealed_weights
from .annealing_path import Path, State
from .annealing_schedule import AnnealingSettings, Batches, Plan, adapted
from .counter_random import CounterRandom
from .drawing import can_be_keyed, halves, keyed, one_by_one
from .limits import HOPELESS
from .result import LogMarginal
from .weights import WeightSum

FIRST_STEP = 0.1  # where the warm-up starts
FIRST_TRANSITIONS = 50  # of the warm-up, before the temperature moves
LEAST_TRANSITIONS = 100  # of the warm-up along the path: with few temperatures, several at each
ADAPTATION_RATE = 1.0  # of log step size, for each transition: slower, it lags behind a posterior that grows narrow
WARM_UP, REVERSE, RESAMPLING = 2**30, 2**31, 5 * 2**29  # where their random streams begin


class Chains:
    """Runs annealed chains of a pair, which is tried on a few data points; transitions go through one graph where that
    pays."""

    def __init__(
        self,
        annealing: AnnealingSettings,
        model: Callee,
        guide: Callee,
        few: Points,
        keys: Tensor,
        batches: Batches,
        compile: bool | Literal["auto"],
        done: Callable[[int], Any],
    ) -> None:
        self.annealing, self.pair, self.done = annealing, (model, guide), done
        self.zero = torch.zeros((), dtype=torch.int64, device=keys.device)
        self.keyed = can_be_keyed(self._starts, few, keys)
        together = len(batches[0][1]) > 1  # else a data point may depend on those beside it: there are none
        few, keys = (few, keys) if together else (few[:1], keys[:1])
        self.path = self.begin(few, keys, 2, 0)
        self.path.check_parts(list(torch.arange(len(few), device=few.device).split(1)))
        gradients = 2 * len(batches) * annealing.num_temperatures * annealing.num_leapfrog
        saves = SAVED_PER_GRADIENT * gradients
        how: Any = {"compile": compile, "precision": "fp32", "saves": saves, "device": few.device}
        self.moved = compile_if_worthwhile(self._moved, pair=(model, guide), **how)

    def begin(self, x: Points, keys: Tensor, num_chains: int, stream: int) -> Path:
        """The path of some data points, with draws of q0 to start from."""
        path = Path(*self.pair, x, num_chains, self.annealing.start)  # its own draws are not used
        settings = x, keys, self.zero, self.zero + stream, num_chains
        starts = keyed(self._starts, *settings) if self.keyed else torch.cat(one_by_one(self._starts, *settings), 1)
        path.start = starts.flatten(0, 1)
        path.check_parts(halves(len(x), x.device))
        return path

    def _starts(self, x: Points, num_chains: int) -> Tensor:
        """Draws of q0 (K, B, D)."""
        return Path(*self.pair, x, num_chains, self.annealing.start).start.view(num_chains, len(x), -1)

    def _moved(self, x: Points, keys: Tensor, packed: Tensor, b: Tensor, step: Tensor, numbers: Tensor) -> Tensor:
        """A transition of all chains, as a function of tensors alone: packed state and acceptance (R, D + 4)."""
        num_chains = len(packed) // len(x)
        path = self.path.continued(x, num_chains)  # what the guide draws here is not used
        state = State.unpacked(packed, self.path.start.dtype)
        # The first sample is no constant: in Triton, products of an index of 32 bits do not have 64.
        first, stream = numbers
        with CounterRandom(keys, first, num_chains, stream):
            state, acceptance = path.move(state, b, step, self.annealing.num_leapfrog)
        return torch.cat([state.packed(), acceptance.repeat(num_chains)[:, None]], 1)

    def move(self, x: Points, keys: Tensor, state: State, b: Tensor, step: Tensor, stream: int) -> tuple[State, Tensor]:
        """The next state, and mean acceptance probabilities (B,)."""
        numbers = torch.tensor([0, stream], device=x.device)
        moved = self.moved(x, keys, state.packed(), b.to(step.dtype), step, numbers)
        return State.unpacked(moved[:, :-1], state.u.dtype), moved[: len(x), -1]

    def warm_up(self, x: Points, keys: Tensor) -> Plan:
        """Temperatures and step sizes, adapted along the path on chains that are used for nothing else."""
        annealing = self.annealing
        log_step = torch.full((len(x),), math.log(FIRST_STEP), device=x.device)
        temperatures = annealing.sigmoid().to(x.device)[:, None].expand(-1, len(x))
        inner = temperatures[1:-1]
        if not len(inner):
            return Plan(temperatures, log_step.new_empty(0, len(x)))
        path = self.begin(x, keys, annealing.num_warmup_chains, WARM_UP)
        repeats = max(1, LEAST_TRANSITIONS // len(inner))
        log_steps, spread, stream = [], [], WARM_UP
        with unvalidated():
            state = path.at(path.start)
            for i, b in enumerate([*[inner[0]] * FIRST_TRANSITIONS, *inner.repeat_interleave(repeats, 0)]):
                stream += 1
                state, acceptance = self.move(x, keys, state, b, log_step.exp(), stream)
                log_step = log_step + ADAPTATION_RATE * (acceptance - annealing.target_acceptance)
                if i >= FIRST_TRANSITIONS and (i - FIRST_TRANSITIONS) % repeats == repeats - 1:
                    log_steps.append(log_step)
                    ratio = state.log_ratio.view(path.num_chains, -1)
                    spread.append(ratio.var(0) if path.num_chains > 1 else torch.ones_like(ratio[0]))
                    self.done(len(x))
        if annealing.schedule == "adaptive":
            return adapted(temperatures, torch.stack(log_steps), torch.stack(spread))
        return Plan(temperatures, torch.stack(log_steps).exp())

    def run(
        self,
        path: Path,
        u: Tensor,
        x: Points,
        keys: Tensor,
        plan: Plan,
        *,
        reverse: bool = False,
        watch: Callable[[State, Tensor], Any] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Log weights (K, B), of p(x) from draws u of q0 or of 1/p(x) from draws of the posterior; acceptance (B,). See
        `annealed_weights`."""
        temperatures, steps = (part.flip(0) if reverse else part for part in plan)

        def move(state: State, number: int) -> tuple[State, Tensor]:
            moved = self.move(x, keys, state, temperatures[number], steps[number - 1], number + REVERSE * reverse)
            self.done(len(x))
            return moved

        def uniform(number: int) -> Tensor:
            with CounterRandom(keys, self.zero, 1, self.zero + RESAMPLING + number):
                return torch.rand(1, len(x), device=x.device)[0]

        share = 0.0 if reverse else self.annealing.resample
        resampling = Resampling(share, uniform) if share else None
        with unvalidated():  # a wild proposal is no error: it is rejected
            return annealed_weights(path.at(u), temperatures, move, watch=watch, resampling=resampling)


def result_of(weights: Tensor, acceptance: Tensor, plan: Plan, *, resampled: bool = False) -> LogMarginal:
    """The result from log weights (K, B), acceptance (B,) and the plan."""
    total = WeightSum(weights.shape[1], len(weights))
    total.add(weights.cpu())
    result = total.result()
    if resampled:  # then a few weights are not those of a few chains
        few = (weights.isfinite().sum(0) < FEWEST_FIRST_DRAWS).cpu()
        levels = {len(weights): result.log_levels[len(weights)]}
        result = dataclasses.replace(result, khat=torch.where(few, HOPELESS, result.khat), log_levels=levels)
    return result.with_details(
        acceptance=acceptance.double().cpu(),
        step_size=plan.steps.T.contiguous().cpu(),
        temperatures=plan.temperatures.T.contiguous().cpu(),
    )
