"""The last rung: annealed chains from the fitted proposal, or from the prior, to the posterior of a data point."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..pairs.batch import Points
from .annealed_weights import annealed_weights
from .annealing_path import State, transition
from .annealing_schedule import Plan, adapted, interpolated, sigmoid_schedule
from .fitted_mixture import Mixture
from .gaussian_fit import eigen
from .latent_draws import LatentDraws
from .latent_space import NotScored
from .limits import HOPELESS, STUCK
from .result import LogMarginal
from .weights import Moments, WeightSum, zero_for_nan

GRADIENT = 3  # evaluations of the model that a gradient costs
CHAINS, PILOT_CHAINS, WARM_UP_CHAINS = 64, 32, 16  # those of the estimate, and those that are thrown away
FIRST_TEMPERATURES, WARM_UP_TEMPERATURES = 32, 64
LEAPFROG, ACCEPTANCE = 3, 0.8
TRANSITION = GRADIENT * LEAPFROG + 1  # evaluations
FIRST_STEP, FIRST_TRANSITIONS = 0.3, 10  # of a warm-up, in units of the path's width; before the temperature moves
WARM_UP = WARM_UP_CHAINS * TRANSITION * (FIRST_TRANSITIONS + WARM_UP_TEMPERATURES - 1)  # evaluations
# Effective sample size of a pilot, as a share of its chains: from which its temperatures are enough, and below which a
# result with as many as there may be is not to be trusted, for so few weights need not show that their tail is heavy.
ENOUGH_ESS, LEAST_ESS = 0.5, 0.2
APART = 10_000_000  # numbers of streams, more than a run takes


@dataclass(frozen=True)
class Paths:
    """Paths q0(u)^(1 - b) p(x, u)^b of some data points, in coordinates e, u = mean + axes e, which are those of
    the first Gaussian where q0 is the mixture, and make both ends diagonal where q0 is a prior like a Gaussian."""

    x: Points
    keys: Tensor
    mixture: Mixture
    from_prior: bool  # whether q0 is the prior, else the mixture
    axes: Tensor  # (B, D, D), columns; those of the first Gaussian of the mixture, turned
    inverse: Tensor
    precision: Tensor  # of q0 along each coordinate, where that of p(x, u) is about 1, (B, D)

    def __getitem__(self, points: Any) -> Paths:
        keys, mixture = self.keys[points], self.mixture[points]
        axes, inverse, precision = self.axes[points], self.inverse[points], self.precision[points]
        return Paths(self.x[points], keys, mixture, self.from_prior, axes, inverse, precision)

    def widths(self, b: Tensor) -> Tensor:
        """Of the path along each coordinate at b (B,), (B, D)."""
        return ((1 - b)[:, None] * self.precision + b[:, None]).rsqrt()


@dataclass(frozen=True)
class Means:
    """What log weights (K, B) say, (B,) each."""

    log_mean: Tensor
    error: Tensor
    ess: Tensor  # as a share of K

    @staticmethod
    def of(log_weights: Tensor) -> Means:
        moments, count = Moments.empty(log_weights.shape[1], log_weights.device).plus(log_weights), len(log_weights)
        return Means(moments.log_mean(count), moments.relative_error(count), moments.ess / count)

    def __getitem__(self, points: Any) -> Means:
        return Means(self.log_mean[points], self.error[points], self.ess[points])

    def above(self, other: Means) -> Tensor:
        """Whether the mean is higher than another by more than a standard error of both, or cannot be compared."""
        return ~(self.log_mean - other.log_mean <= torch.hypot(self.error, other.error))


class AnnealedRung:
    """Estimates log p(x) of data points that no proposal fits by annealed importance sampling.

    Where a few Gaussians are too simple for a posterior of many dimensions, small steps of temperature from them on,
    with Hamiltonian transitions in between, lead there. Chains start from the fitted mixture, or from the prior, which
    finds modes that the mixture leaves out: of two lower bounds the higher one is nearer to the truth, and pilots of
    both tell which that is. Step sizes and temperatures come from warm-ups, the number of temperatures from pilots: it
    is doubled until their weights are even enough and their mean no longer rises, or the evaluations of the model are
    spent; then k-hat is at least 1 where the last pilot asks for more. All of these are thrown away, so that the mean
    weight stays p(x).

    The transitions are those of `annealed_log_marginal`, in coordinates in which the first Gaussian is spherical.

    Args:
        draws: in the pair's latent space.
        done: called with numbers of evaluations of the model, as they are done.

    Reference:
        Neal 2001, "Annealed importance sampling".
    """

    def __init__(self, draws: LatentDraws, done: Callable[[int], Any]) -> None:
        self.draws, self.space, self.done = draws, draws.space, done

    def estimate(self, x: Points, keys: Tensor, mixture: Mixture, most: int) -> LogMarginal | None:
        """The result for data x (B, ...), by at most so many evaluations of the model for each of them; None where that
        is too few, or the model draws random numbers of its own, or raises an error where chains come.

        The detail "evaluations" counts those of chains that were thrown away, too.
        """
        if most < evaluations(CHAINS, 2 * FIRST_TEMPERATURES):
            return None
        try:
            return self._estimate(x, keys, mixture, most)
        except NotScored:  # at latents where only chains come
            if len(x) > 1:  # those of the other data points need not
                raise
            return None

    def _estimate(self, x: Points, keys: Tensor, mixture: Mixture, most: int) -> LogMarginal | None:
        """As `estimate`, by the start that pilots choose."""
        both = [self._paths(x, keys, mixture, from_prior=from_prior) for from_prior in (False, True)]
        if not self._has_one_density(both[0]):
            return None
        plans = [self._warm_up(paths, stream=(2 + number) * APART) for number, paths in enumerate(both)]
        pilots = [self._pilot(*pair, FIRST_TEMPERATURES) for pair in zip(both, plans, strict=True)]
        higher = pilots[1].log_mean > pilots[0].log_mean
        results, order = [], []
        for paths, plan, pilot, here in zip(both, plans, pilots, (~higher, higher), strict=True):
            points = here.nonzero()[:, 0]
            if len(points):
                results.append(self._adapted(paths[points], some(plan, points), pilot[points], most))
                order.append(points)
        return LogMarginal.join(results)[torch.cat(order).argsort().cpu()]

    def _adapted(self, paths: Paths, plan: Plan, before: Means, most: int) -> LogMarginal:
        """The result with as many temperatures as it takes, from the first pilot on."""
        results, order, points = [], [], torch.arange(len(paths.keys), device=paths.keys.device)
        count, spent = FIRST_TEMPERATURES, 2 * (WARM_UP + evaluations(PILOT_CHAINS, FIRST_TEMPERATURES))
        while len(points):
            count *= 2
            pilot = self._pilot(paths[points], plan, count)
            spent += evaluations(PILOT_CHAINS, count)
            rises = pilot.above(before)
            now = ((pilot.ess > ENOUGH_ESS) & ~rises) | (evaluations(CHAINS, 2 * count) > most)
            if now.any():
                log_weights, acceptance = self._run(
                    paths[points[now]], finer(some(plan, now), count), CHAINS, stream=5 * APART
                )
                total = WeightSum(log_weights.shape[1], CHAINS, log_weights.device)
                total.add(zero_for_nan(log_weights))
                result, unknown = total.result(), log_weights.isnan().any(0)
                doubted = (rises | (pilot.ess < LEAST_ESS))[now] | (acceptance < STUCK) | unknown
                khat = torch.where(doubted.cpu(), result.khat.fmax(torch.tensor(HOPELESS)), result.khat)
                cost = torch.full_like(result.num_samples, spent + evaluations(CHAINS, count))
                results.append(dataclasses.replace(result, khat=khat).with_details(evaluations=cost))
                order.append(points[now])
            points, plan, before = points[~now], some(plan, ~now), pilot[~now]
        return LogMarginal.join(results)[torch.cat(order).argsort().cpu()]

    def _pilot(self, paths: Paths, plan: Plan, count: int) -> Means:
        """What chains that are thrown away find with so many temperatures."""
        return Means.of(zero_for_nan(self._run(paths, finer(plan, count), PILOT_CHAINS, stream=4 * APART)[0]))

    def _paths(self, x: Points, keys: Tensor, mixture: Mixture, *, from_prior: bool) -> Paths:
        near = mixture.parts[0]
        if not from_prior:
            return Paths(x, keys, mixture, False, near.root, near.inverse, torch.ones_like(near.mean))
        spread = self.draws.in_portions(x, keys, PILOT_CHAINS, stream=APART, prior=True).std(0).clamp(min=1e-4)
        scaled = near.root / spread[..., None]
        precision, turn = eigen(scaled.mT @ scaled)
        return Paths(x, keys, mixture, True, near.root @ turn, turn.mT @ near.inverse, precision.clamp(min=1e-8))

    def _at(self, paths: Paths, e: Tensor) -> State:
        """The log densities at e (R, D)."""
        u = paths.mixture.parts[0].mean + torch.einsum("bij,kbj->kbi", paths.axes, e.view(-1, *paths.precision.shape))
        joint, prior = self.space.joint_and_prior(paths.x, u)
        start = prior if paths.from_prior else paths.mixture.log_prob(u)
        return State(e, start.flatten(), joint.flatten(), torch.zeros_like(joint).flatten())

    def _starts(self, paths: Paths, first: int, count: int, *, stream: int) -> State:
        """Draws of q0, (R, D), those of numbers from ``first`` on."""
        if paths.from_prior:
            u = self.draws.of_pair(paths.x, paths.keys, first, count, stream=stream, prior=True)
        else:
            noise = self.draws.normal(paths.keys, first, count, stream=stream)
            u = paths.mixture.at(noise, self.draws.uniform(paths.keys, first, count, stream=stream + 1))
        e = torch.einsum("bij,kbj->kbi", paths.inverse, u - paths.mixture.parts[0].mean)
        return self._at(paths, e.flatten(0, 1))

    def _has_one_density(self, paths: Paths) -> bool:
        """Whether the model has the same density when it is asked again: chains need more than an estimate of it."""
        state = self._starts(paths, 0, 2, stream=APART)
        return torch.allclose(state.log_joint, self._at(paths, state.u).log_joint, 1e-4, 1e-3, equal_nan=True)

    def _moved(
        self, paths: Paths, state: State, b: Tensor, step: Tensor, first: int, stream: int
    ) -> tuple[State, Tensor]:
        """A transition of the chains ``first``, ..., at b (B,), with step sizes (B,) in units of the path's width."""
        count, b = len(state.u) // len(paths.keys), b.to(step.dtype)
        with self.draws.numbered(paths.keys, first, count, stream=stream):
            moved = transition(lambda e: self._at(paths, e), state, b, step[:, None] * paths.widths(b), LEAPFROG, count)
        self.done(TRANSITION * len(state.u))
        return moved

    def _warm_up(self, paths: Paths, *, stream: int) -> Plan:
        """Temperatures and step sizes, adapted along the path."""
        b = sigmoid_schedule(WARM_UP_TEMPERATURES).to(paths.keys.device)[:, None].expand(-1, len(paths.keys))
        log_step = torch.full_like(paths.precision[:, 0], math.log(FIRST_STEP))
        state = self._starts(paths, 0, WARM_UP_CHAINS, stream=stream)
        log_steps, variance = [], []
        for number, now in enumerate([*[b[1]] * FIRST_TRANSITIONS, *b[1:-1]]):
            state, acceptance = self._moved(paths, state, now, log_step.exp(), 0, stream + 2 + number)
            log_step = log_step + acceptance - ACCEPTANCE
            if number >= FIRST_TRANSITIONS:
                log_steps.append(log_step)
                variance.append(state.log_ratio.view(WARM_UP_CHAINS, -1).var(0))
        return adapted(b, torch.stack(log_steps), torch.stack(variance))

    def _run(self, paths: Paths, plan: Plan, num_chains: int, *, stream: int) -> tuple[Tensor, Tensor]:
        """Log weights (K, B), and mean acceptance probabilities (B,), some chains at a time."""
        size = max(1, self.draws.at_once // (GRADIENT * len(paths.keys)))
        found, accepted = [], torch.zeros_like(plan.steps[0])
        for first in range(0, num_chains, size):
            count = min(size, num_chains - first)
            start = self._starts(paths, first, count, stream=stream)

            def move(state: State, number: int, first: int = first) -> tuple[State, Tensor]:
                step = plan.steps[number - 1]
                return self._moved(paths, state, plan.temperatures[number], step, first, stream + 1 + number)

            log_weights, acceptance = annealed_weights(start, plan.temperatures, move)
            found.append(log_weights)
            accepted = accepted + acceptance * count / num_chains
        return torch.cat(found), accepted


def evaluations(num_chains: int, num_temperatures: int) -> int:
    """Of the model, by the transitions of so many chains."""
    return num_chains * (num_temperatures - 1) * TRANSITION


def some(plan: Plan, points: Tensor) -> Plan:
    """The plan of some of the data points."""
    return Plan(plan.temperatures[:, points], plan.steps[:, points])


def finer(plan: Plan, count: int) -> Plan:
    """The plan with another number of temperatures, shared out along the path as before."""
    before, after = (torch.linspace(0, 1, n, dtype=torch.float64) for n in (len(plan.temperatures), count + 1))
    shape, device = (-1, plan.temperatures.shape[1]), plan.steps.device
    at, known = (numbers.to(device)[:, None].expand(shape) for numbers in (after, before))
    found = interpolated(at, known, plan.temperatures)
    steps = interpolated(found[1:-1], plan.temperatures[1:-1], plan.steps.double())
    return Plan(found, steps.to(plan.steps.dtype))
