"""log p(x) from proposals that are fitted to each data point, as far as it needs."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..pairs.batch import Points
from ..pairs.contexts import unvalidated
from .annealed_rung import GRADIENT, AnnealedRung
from .exploring import CLIMB_STEPS, NEGLIGIBLE, climbed, share_uncovered, uncovered
from .fitted_mixture import Mixture, around, farthest
from .gaussian_fit import Gaussians, fitted
from .latent_draws import LatentDraws
from .latent_space import LatentSpace
from .limits import ANNEALED, HEAVY, HOPELESS
from .mixture_sampler import PILOT, SHARES, MixtureSampler, Scored
from .pilots import LeftOut, Pilot, foreseen_ess, good_enough, missed, needed, pilot_khat
from .result import LogMarginal

# Shares of the samples: from fitted Gaussians, from the guide, from the prior.
OF_GUIDE_ALONE = (0.0, 1.0, 0.0)
EXPLORING, EXPLORING_FROM_GUIDE = (0.4, 0.1, 0.5), (0.0, 0.5, 0.5)
WIDER = 1.1  # the Gaussians: those that the ELBO likes best are narrower than the posterior
TAILS = 2.5  # factor of the scales of a copy that stands for tails heavier than a Gaussian's
OF_TAILS = (0.85, 0.15)  # shares of the first Gaussian and of that copy, where there are few latents
MOST_STARTS, STEPS = 3, 8  # fits for one data point; steps of a fit
MOST_STARTS_OF_FEW = 6  # fits where there are few latents, and modes are looked for
MOST_DRAWS = 64  # for a step of a fit, of as many as there are dimensions
FEW_LATENTS = 8  # up to which draws from the prior, and climbs from there, can find modes that nothing else visits
OF_GUIDE = 0.8  # effective sample size of a guide's pilot, relative, from which no fit is worth while
CLIMBS = 16  # from draws of the prior, in a pilot
CLIMBING = CLIMBS * (1 + GRADIENT * CLIMB_STEPS)  # evaluations
PROBES, PROBE = 4, 128  # fits at modes that are hardly covered, at most; draws of one, which tell the mass there
NARROWER = 0.4  # factor of the scales at the start of each: from the first Gaussian's, a fit would leave the mode


def as_many(result: LogMarginal, num_samples: int) -> LogMarginal:
    """A result of annealed chains whose levels are those of so many samples: what a mean over data points needs."""
    last = result.log_prob, result.standard_error
    counts = [*(10**i for i in range(len(str(num_samples - 1)))), num_samples]
    return dataclasses.replace(result, log_levels={k: result.log_levels.get(k, last) for k in counts})


def with_rung(result: LogMarginal, rung: int, *, evaluations: Tensor, left_out: Tensor | None) -> LogMarginal:
    """A result with its rung, its cost and, where it was looked for, the share that is left out, as details beside the
    jackknife estimate alone."""
    details = {"jackknife": result.jackknife, "rung": torch.full((len(result),), rung), "evaluations": evaluations}
    return dataclasses.replace(result, details=details if left_out is None else details | {"left_out": left_out})


def foreseen_evaluations(dim: int, num_samples: int) -> int:
    """How many evaluations of the model a data point of so many latents can be expected to take."""
    if dim <= FEW_LATENTS:
        return num_samples + 7 * (2 * PILOT + CLIMBING)
    return num_samples + 2 * PILOT + GRADIENT * STEPS * min(max(dim, 16), MOST_DRAWS)


class Escalation:
    """Estimates log p(x) of some data points from Gaussians fitted to their posteriors.

    A data point's samples are drawn from the mixture of the Gaussians, the guide and the prior, and weighted by its
    density (the balance heuristic), so that none of the three can spoil what another does well. The numbers of draws
    from each are fixed beforehand, their order by chance.

    The first Gaussian starts from the guide. Where a pilot's weights are heavy-tailed after that, as they are where the
    guide sits on one of several modes, another starts from the pilot's draw of large weight that lies farthest from
    those that are there. Where there are few latents, modes are looked for by climbing, too. One that the proposal
    hardly covers at its top may have next to no mass, so a Gaussian is fitted to it, whose draws tell the share of the
    evidence; where that is not negligible, it is the next to be added. Where the last pilot foresees a k-hat above 0.7,
    and a standard error is aimed at, annealed chains from the mixture or the prior take over (`AnnealedRung`), but not
    for modes that are left out. The result has at least that k-hat, for chains, too, can miss a mode.

    What decides is thrown away: the estimate comes from other draws than the pilots, so that its mean is p(x), and the
    mean of its logarithm lies below log p(x).

    Args:
        space: the latents of the pair.
        is_keyed: whether draws of the pair can be told apart by data point.
        seed: of the order of the draws.
        at_once: (data point, sample) pairs that are drawn and scored together.
        done: called with numbers of evaluations of the model, as they are done.

    Reference:
        Veach, Guibas 1995, "Optimally combining sampling techniques for Monte Carlo rendering" (balance heuristic);
        Cornuet, Marin, Mira, Robert 2012, "Adaptive multiple importance sampling".
    """

    def __init__(
        self, space: LatentSpace, *, is_keyed: bool, seed: int, at_once: int, done: Callable[[int], Any]
    ) -> None:
        self.space, self.at_once, self.done = space, at_once, done
        self.draws = LatentDraws(space, is_keyed=is_keyed, at_once=at_once)
        self.annealed = AnnealedRung(self.draws, done)
        self.sampler = MixtureSampler(self.draws, seed=seed, done=done)
        self.pairs = min(max(space.dim, 16), MOST_DRAWS) // 2  # of draws of opposite sign, in a step of a fit
        self.explores = space.dim <= FEW_LATENTS
        self.most_starts = MOST_STARTS_OF_FEW if self.explores else MOST_STARTS
        self.pilot = 2 * PILOT + CLIMBING if self.explores else PILOT  # evaluations
        self.fit = GRADIENT * STEPS * 2 * self.pairs

    def estimate(
        self, x: Points, keys: Tensor, num_samples: int, target: float | None = None, most: int = 100_000
    ) -> LogMarginal:
        """The result for data x (B, ...).

        Args:
            num_samples: for each; with a target, at least.
            target: standard error to be reached, in nats.
            most: samples of one data point for that, and evaluations of the model by annealed chains.

        Returns:
            LogMarginal with the details "rung", the number of Gaussians or that of chains, "evaluations", how often the
            model was evaluated for a data point, and, with up to eight latents, "left_out", the share of the evidence
            that the last pilot found where the proposal hardly draws (nan where it could not tell). If that is not
            negligible, khat is at least 1.
        """
        results, order = [], []
        with unvalidated():  # a wild proposal is no error: its weight is 0
            points, mixture, rung = torch.arange(len(x), device=x.device), self._first(x, keys), 1
            cost = torch.full_like(points, self.pilot + self.fit)  # the guide's pilot, and the first fit
            while len(points):
                good, left_out, u, log_weights = self._pilot(x[points], keys[points], mixture, stream=10 * rung)
                cost[points] += self.pilot + left_out.fits * (self.fit + PROBE)
                # A result after the last pilot has its k-hat at least: by chance, draws that miss much look best.
                khat = torch.where(good, -math.inf, pilot_khat(log_weights[:PILOT]))
                khat = torch.where(left_out.much, khat.clamp(min=HOPELESS), khat).cpu()
                if rung == self.most_starts:
                    hard, good = (khat > HEAVY).to(good.device) & ~left_out.much, torch.ones_like(good)
                    which = points[hard] if target is not None else points[:0]
                    if len(which) and (found := self.annealed.estimate(x[which], keys[which], mixture[hard], most)):
                        # However even the weights of chains are, they do not tell whether a mode was missed.
                        found = dataclasses.replace(found, khat=found.khat.fmax(khat[hard.cpu()]))
                        found = as_many(found, num_samples)
                        spent, share = found.details["evaluations"] + cost[which].cpu(), self._share(left_out, hard)
                        results.append(with_rung(found, ANNEALED, evaluations=spent, left_out=share))
                        order.append(which)
                        good = ~hard
                count_of = needed(log_weights[:PILOT], num_samples, target, most)
                for count in count_of[good].unique().tolist():
                    now = good & (count_of == count)
                    which = points[now]
                    result = self.sampler.estimate(x[which], keys[which], mixture[now], count)
                    spent, share = count + cost[which].cpu(), self._share(left_out, now)
                    result = with_rung(result, rung, evaluations=spent, left_out=share)
                    worst = torch.fmax(result.khat, khat[now.cpu()]) if rung == self.most_starts else result.khat
                    results.append(dataclasses.replace(result, khat=worst))
                    order.append(points[now])
                if rung == self.most_starts:
                    break
                points, mixture = points[~good], mixture[~good]
                if len(points):
                    rung += 1
                    new = farthest(u[:, ~good], log_weights[:, ~good], mixture)
                    fresh = torch.ones_like(points, dtype=torch.bool)
                    if left_out.there is not None:
                        fresh = ~(left_out.share[~good] > NEGLIGIBLE)
                        new = new.where(fresh, left_out.there[~good])
                    some = fresh.nonzero()[:, 0]
                    if len(some):
                        which = points[some]
                        fits = self._fitted(x[which], keys[which], new[some], stream=1000 + 100 * rung)
                        new = new.replaced(some, fits)
                        cost[which] += self.fit
                    mixture = self._with_another(x[points], keys[points], mixture, new, stream=100 * rung)
                    cost[points] += GRADIENT * PILOT // 4 * len(mixture.parts)
        return LogMarginal.join(results)[torch.cat(order).argsort().cpu()]

    def trusts_guide(self, x: Points, keys: Tensor) -> Tensor:
        """Whether the guide's own samples will do, (B,): also by what draws from the prior find beside them."""
        with unvalidated():
            return self._pilot(x, keys, Mixture((), torch.empty(0, len(x), device=x.device)), stream=500).good

    def _share(self, left_out: LeftOut, some: Tensor) -> Tensor | None:
        """What is left out of some data points, where it is looked for."""
        return left_out.share[some].cpu() if self.explores else None

    def _first(self, x: Points, keys: Tensor) -> Mixture:
        """A fit that starts where the guide is."""
        u = self.draws.in_portions(x, keys, PILOT // 4, stream=1)
        start = Gaussians.diagonal(u.mean(0), u.std(0).clamp(min=1e-4))
        fit = self._fitted(x, keys, start, stream=1000)
        if self.space.dim > FEW_LATENTS:  # where a wide copy would lie around the posterior like a shell
            return Mixture((fit,), u.new_ones(1, len(x)))
        return Mixture((fit, fit.widened(TAILS)), u.new_tensor(OF_TAILS)[:, None].expand(-1, len(x)))

    def _fitted(self, x: Points, keys: Tensor, start: Gaussians, *, stream: int) -> Gaussians:
        def noise(step: int) -> Tensor:
            e = self.draws.normal(keys, 0, self.pairs, stream=stream + step)
            return torch.cat([e, -e])

        fit = fitted(lambda u: self._joint_and_gradient(x, u), start, noise, num_steps=STEPS)
        return fit.widened(WIDER)

    def _joint_and_gradient(self, x: Points, u: Tensor) -> tuple[Tensor, Tensor]:
        values, gradients = [], []
        for some in u.split(max(1, self.at_once // (GRADIENT * len(x)))):
            value, gradient = self.space.joint_and_gradient(x, some)
            values.append(value)
            gradients.append(gradient)
            self.done(GRADIENT * value.numel())
        return torch.cat(values), torch.cat(gradients)

    def _with_another(self, x: Points, keys: Tensor, mixture: Mixture, new: Gaussians, *, stream: int) -> Mixture:
        """The mixture with one more part, and a wide copy of the first for tails; shares by the evidence that each
        part finds."""
        wide = mixture.parts[1:] or (mixture.parts[0].widened(TAILS),)
        parts = (mixture.parts[0], *wide, new)
        evidence = []
        for number, part in enumerate(parts):
            u = part.at(self.draws.normal(keys, 0, PILOT // 4, stream=stream + number))
            log_weights = self._joint_and_gradient(x, u)[0] - part.log_prob(u)
            evidence.append(log_weights.logsumexp(0).nan_to_num(-math.inf))
        found = torch.stack(evidence).softmax(0).nan_to_num(1 / len(parts))
        return Mixture(parts, 0.7 * found + 0.3 / len(parts))

    def _pilot(self, x: Points, keys: Tensor, mixture: Mixture, *, stream: int) -> Pilot:
        """Whether the mixture will do.

        Where there are few latents, it must also explain what draws from the prior find beside it, and the modes that
        are found by climbing from there.
        """
        alone, least = (SHARES, 0.0) if mixture.parts else (OF_GUIDE_ALONE, OF_GUIDE)
        u, log_weights, _ = self.sampler.drawn(x, keys, mixture, alone, stream=stream)
        good = good_enough(log_weights, least_ess=least)
        left_out = LeftOut(torch.zeros_like(log_weights[0]), None, torch.zeros_like(good, dtype=torch.int64))
        if self.space.dim <= FEW_LATENTS:
            exploring = EXPLORING if mixture.parts else EXPLORING_FROM_GUIDE
            more, more_weights, scored = self.sampler.drawn(x, keys, mixture, exploring, stream=stream + 5000)
            starts = self.draws.in_portions(x, keys, CLIMBS, stream=stream + 6000, prior=True)
            tops = climbed(lambda u: self._joint_and_gradient(x, u), starts)
            scored_tops = self.sampler.scored(x, tops, mixture)
            at_tops = scored_tops.log_weights(alone)
            log_mean = log_weights.logsumexp(0) - math.log(PILOT)
            if mixture.parts:
                left_out = self._left_out(x, keys, mixture, tops, scored_tops, log_mean, stream=7000 + 10 * stream)
            else:  # of the guide alone, the top is doubt enough: a fit follows
                good = good & ~uncovered(at_tops, log_mean).any(0)
            good = good & good_enough(more_weights) & ~missed(log_weights, more_weights) & ~left_out.much
            if not mixture.parts:  # nothing stands for tails beside the guide
                good = good & (foreseen_ess(scored.log_weights(alone), more_weights) > OF_GUIDE)
            u, log_weights = torch.cat([u, more, tops]), torch.cat([log_weights, more_weights, at_tops])
        return Pilot(good, left_out, u, log_weights)

    def _left_out(
        self, x: Points, keys: Tensor, mixture: Mixture, tops: Tensor, at: Scored, log_mean: Tensor, *, stream: int
    ) -> LeftOut:
        """What a mixture leaves out at tops of climbs (C, B, D), by the densities there, and the log mean of its
        weights (B,).

        A Gaussian is fitted at the top of the largest weight, and at the next that neither covers, until one of them
        finds mass.
        """
        at_tops, share = at.log_weights(SHARES), torch.zeros_like(log_mean)
        is_open = uncovered(at_tops, log_mean)
        there, fits = mixture.parts[0], torch.zeros_like(log_mean, dtype=torch.int64)
        for number in range(PROBES):
            some = (is_open.any(0) & (share <= NEGLIGIBLE)).nonzero()[:, 0]
            if not len(some):
                break
            mean, mine = log_mean[some], mixture[some]
            highest = at_tops[:, some].where(is_open[:, some], -math.inf).argmax(0)
            start = around(tops[:, some], highest, mine).widened(NARROWER ** (number + 1))
            part = self._fitted(x[some], keys[some], start, stream=stream + 20 * number)
            probe = Mixture((part, part.widened(1.5)), torch.full_like(mean, 0.5).expand(2, -1))
            u = probe.at(
                self.draws.normal(keys[some], 0, PROBE, stream=stream + 20 * number + STEPS),
                self.draws.uniform(keys[some], 0, PROBE, stream=stream + 20 * number + STEPS + 1),
            )
            scored = self.sampler.scored(x[some], u, mine)
            log_ratios = (scored.joint - probe.log_prob(u)).nan_to_num(-math.inf, math.inf, -math.inf)
            share[some] = torch.maximum(share[some], share_uncovered(scored.log_weights(SHARES), log_ratios, mean))
            there, fits[some] = there.replaced(some, part), number + 1
            # Where the Gaussian does not reach the top, it has not told the mass there.
            is_open[:, some] &= ~(at.joint[:, some] - probe.log_prob(tops[:, some]) < mean)
        untold = is_open.any(0) & (share <= NEGLIGIBLE)
        return LeftOut(share.masked_fill(untold, math.nan), there, fits)
