"""Draws from fitted Gaussians, the guide and the prior at once, weighted by the density of their mixture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..pairs.batch import Points
from .fitted_mixture import Mixture
from .latent_draws import LatentDraws
from .limits import HOPELESS
from .result import LogMarginal
from .weights import Moments, WeightSum, error_of_strata, zero_for_nan

# Shares of the samples: from fitted Gaussians, from the guide, from the prior.
SHARES = (0.85, 0.1, 0.05)
PILOT = 256  # samples that decide whether a proposal is good enough, and are thrown away


class Scored(NamedTuple):
    """Log densities at draws; of proposals -inf where they are unknown."""

    joint: Tensor  # of p(x, z), (K, B)
    proposals: Tensor  # fitted Gaussians, guide and prior, (3, K, B)

    def log_weights(self, shares: tuple[float, ...]) -> Tensor:
        """Those of draws in such shares from the proposals, (K, B)."""
        log_mixture = (self.proposals + self.joint.new_tensor(shares).log()[:, None, None]).logsumexp(0)
        return zero_for_nan(self.joint - log_mixture)

    @staticmethod
    def join(parts: list[Scored]) -> Scored:
        """One after the other."""
        return Scored(*(torch.cat(terms, -2) for terms in zip(*parts, strict=True)))


class MixtureSampler:
    """Estimates log p(x) from draws of the three proposals, in fixed numbers of each, in an order by the seed, weighted
    by the balance heuristic; ``done`` is called with numbers of evaluations of the model, as they are done."""

    def __init__(self, draws: LatentDraws, *, seed: int, done: Callable[[int], Any]) -> None:
        self.draws, self.space, self.at_once, self.seed, self.done = draws, draws.space, draws.at_once, seed, done

    def scored(self, x: Points, u: Tensor, mixture: Mixture) -> Scored:
        """The log densities at u (K, B, D), some at a time."""
        return Scored.join([self._scored(x, some, mixture) for some in u.split(max(1, self.at_once // len(x)))])

    def drawn(
        self, x: Points, keys: Tensor, mixture: Mixture, shares: tuple[float, ...], *, stream: int
    ) -> tuple[Tensor, Tensor, Scored]:
        """Draws of a pilot (K, B, D), their log weights (K, B) and log densities."""
        _, u, log_weights, scored = zip(*self.chunks(x, keys, mixture, PILOT, shares, stream=stream), strict=True)
        return torch.cat(u), torch.cat(log_weights), Scored.join(list(scored))

    def estimate(self, x: Points, keys: Tensor, mixture: Mixture, num_samples: int) -> LogMarginal:
        """The result for data x (B, ...) by so many samples for each. Where the density of the model is no number, a
        weight is 0, and k-hat at least 1: what is missing there, nobody knows."""
        total, counts = WeightSum(len(x), num_samples, x.device), [0] * len(SHARES)
        strata = [Moments.empty(len(x), x.device) for _ in SHARES]
        unknown = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for kinds, _, log_weights, scored in self.chunks(x, keys, mixture, num_samples, SHARES, stream=0):
            total.add(log_weights)
            unknown |= scored.joint.isnan().any(0)
            for kind in kinds.unique().tolist():
                strata[kind] = strata[kind].plus(log_weights[(kinds == kind).to(log_weights.device)])
                counts[kind] += int((kinds == kind).sum())
        result = total.result(error_of_strata(strata, counts))
        khat = torch.where(unknown.cpu(), result.khat.fmax(torch.tensor(HOPELESS)), result.khat)
        return dataclasses.replace(result, khat=khat)

    def chunks(
        self, x: Points, keys: Tensor, mixture: Mixture, num_samples: int, shares: tuple[float, ...], *, stream: int
    ) -> Iterator[tuple[Tensor, Tensor, Tensor, Scored]]:
        """Which proposal each draw is from (K,), draws, log weights and log densities, some samples at a time."""
        counts = [round(share * num_samples) for share in shares]
        counts[0 if mixture.parts else 1] += num_samples - sum(counts)
        kinds = torch.tensor([kind for kind, count in enumerate(counts) for _ in range(count)])
        kinds = kinds[torch.randperm(num_samples, generator=torch.Generator().manual_seed(self.seed % 2**63))]
        shares_drawn = tuple(n / num_samples for n in counts)
        size, drawn = max(1, self.at_once // len(x)), [0, 0, 0]
        for first in range(0, num_samples, size):
            some = kinds[first : first + size]
            u = mixture.at(
                self.draws.normal(keys, first, len(some), stream=stream + 2),
                self.draws.uniform(keys, first, len(some), stream=stream + 3),
            )
            for kind in (1, 2):
                if n := int((some == kind).sum()):
                    own = self.draws.of_pair(x, keys, drawn[kind], n, stream=stream + 3 + kind, prior=kind == 2)
                    u[(some == kind).to(u.device)] = own
                    drawn[kind] += n
            scored = self._scored(x, u, mixture)
            # A density that is unknown at a draw counts as 0 in the mixture: the draw must not count, either.
            own = scored.proposals.gather(0, some.to(u.device)[None, :, None].expand(1, *scored.joint.shape))[0]
            yield some, u, torch.where(own.isneginf(), -math.inf, scored.log_weights(shares_drawn)), scored

    def _scored(self, x: Points, u: Tensor, mixture: Mixture) -> Scored:
        joint, guide, prior = self.space.densities(x, u)
        self.done(joint.numel())
        proposals = torch.stack([mixture.log_prob(u), guide, prior])
        return Scored(joint, proposals.nan_to_num(-math.inf, math.inf, -math.inf))
