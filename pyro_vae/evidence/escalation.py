"""log p(x) from proposals that are fitted to each data point, as far as it needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..pairs.contexts import unvalidated
from .counter_random import CounterRandom
from .drawing import keyed, one_by_one
from .gaussian_fit import Gaussians, fitted
from .latent_space import LatentSpace
from .pareto import pareto_khat, tail_length
from .result import LogMarginal
from .weights import Moments, WeightSum

GUIDE_SHARE, PRIOR_SHARE = 0.1, 0.05  # of the samples; the others are drawn from fitted Gaussians
WIDER = 1.1  # the Gaussians: those that the ELBO likes best are narrower than the posterior
MOST_STARTS = 3  # fits for one data point
MOST_DRAWS = 64  # for a step of a fit, of as many as there are dimensions
PILOT = 256  # samples that decide whether a proposal is good enough, and are thrown away
ENOUGH = 0.6  # k-hat of a pilot up to which it is
AT_ONCE = 4096  # (data point, sample) pairs
POINTS = 64  # data points at once
STREAM = 2**29  # where the streams of random numbers of this file begin
GRADIENT = 3  # evaluations of the model that a gradient costs


def good_enough(log_weights: Tensor) -> Tensor:
    """Whether a pilot's log weights (K, B) promise an estimate to be trusted, (B,)."""
    log_weights = log_weights.double()
    tail = log_weights.topk(min(tail_length(len(log_weights)) + 1, len(log_weights)), 0).values
    ess = Moments.empty(log_weights.shape[1], log_weights.device).plus(log_weights).ess
    return (pareto_khat(tail) < ENOUGH) | (ess > len(log_weights) / 2)


@dataclass(frozen=True)
class Mixture:
    """Mixtures of Gaussians, one for each data point, beside the guide and the prior."""

    parts: tuple[Gaussians, ...]
    shares: Tensor  # of the parts, (M, B), 1 in all

    def __getitem__(self, points: Any) -> Mixture:
        return Mixture(tuple(part[points] for part in self.parts), self.shares[:, points])

    def at(self, noise: Tensor, uniform: Tensor) -> Tensor:
        """Draws (K, B, D) that belong to standard normal noise (K, B, D) and uniform numbers (K, B)."""
        chosen = (uniform > self.shares.cumsum(0)[:, None]).sum(0).clamp(max=len(self.parts) - 1)
        u = self.parts[0].at(noise)
        for number, part in enumerate(self.parts[1:], 1):
            u = torch.where((chosen == number)[..., None], part.at(noise), u)
        return u

    def log_prob(self, u: Tensor) -> Tensor:
        """Log densities (K, B) at u (K, B, D)."""
        log_shares = self.shares.log()[:, None]
        return torch.logsumexp(torch.stack([part.log_prob(u) for part in self.parts]) + log_shares, 0)


class Escalation:
    """Estimates log p(x) of some data points from Gaussians fitted to their posteriors.

    A data point's samples are drawn from the mixture of the Gaussians, the guide and the prior, and weighted by its
    density (the balance heuristic), so that none of the three can spoil what another does well. The numbers of draws
    from each are fixed beforehand, their order by chance.

    The first Gaussian starts from the guide. Where a pilot's weights are heavy-tailed after that, as they are where the
    guide sits on one of several modes, another starts from the pilot's draw of large weight that lies farthest from
    those that are there. What decides is thrown away: the estimate comes from other draws than the pilots, so that its
    mean is p(x), and the mean of its logarithm lies below log p(x).

    Args:
        space: the latents of the pair.
        is_keyed: whether draws of the pair can be told apart by data point.
        seed: of the order of the draws.
        done: called with numbers of samples, as they are drawn.

    Reference:
        Veach, Guibas 1995, "Optimally combining sampling techniques for Monte Carlo rendering" (balance heuristic);
        Cornuet, Marin, Mira, Robert 2012, "Adaptive multiple importance sampling".
    """

    def __init__(self, space: LatentSpace, *, is_keyed: bool, seed: int, done: Callable[[int], Any]) -> None:
        self.space, self.is_keyed, self.seed, self.done = space, is_keyed, seed, done

    def estimate(self, x: Tensor, keys: Tensor, num_samples: int) -> LogMarginal:
        """The result for data x (B, ...), with the details "rung", the number of Gaussians, and "evaluations", how
        often the model was evaluated."""
        results, order = [], []
        with unvalidated():  # a wild proposal is no error: its weight is 0
            points, mixture, rung = torch.arange(len(x), device=x.device), self._first(x, keys), 1
            while len(points):
                u, log_weights = self._pilot(x[points], keys[points], mixture, stream=10 * rung)
                good = good_enough(log_weights) if rung < MOST_STARTS else torch.ones_like(points, dtype=torch.bool)
                if good.any():
                    some = points[good]
                    results.append(self._final(x[some], keys[some], mixture[good], num_samples, rung))
                    order.append(some)
                points, mixture = points[~good], mixture[~good]
                if len(points):
                    rung += 1
                    starts = _farthest(u[:, ~good], log_weights[:, ~good], mixture)
                    mixture = self._with_another(x[points], keys[points], mixture, starts, stream=100 * rung)
        return LogMarginal.join(results)[torch.cat(order).argsort().cpu()]

    def _first(self, x: Tensor, keys: Tensor) -> Mixture:
        """A fit that starts where the guide is."""
        u = self._pair_draws(x, keys, 0, PILOT // 4, stream=1)
        start = Gaussians.diagonal(u.mean(0), u.std(0).clamp(min=1e-4))
        return Mixture((self._fitted(x, keys, start, stream=1000),), u.new_ones(1, len(x)))

    def _fitted(self, x: Tensor, keys: Tensor, start: Gaussians, *, stream: int) -> Gaussians:
        pairs = min(max(self.space.dim, 16), MOST_DRAWS) // 2

        def noise(step: int) -> Tensor:
            e = self._normal(keys, 0, pairs, stream=stream + step)
            return torch.cat([e, -e])

        fit = fitted(lambda u: self.space.joint_and_gradient(x, u), start, noise)
        return fit.widened(WIDER)

    def _with_another(self, x: Tensor, keys: Tensor, mixture: Mixture, starts: Gaussians, *, stream: int) -> Mixture:
        """The mixture with one more part, and shares by the evidence that each part finds."""
        parts = (*mixture.parts, self._fitted(x, keys, starts, stream=1000 + stream))
        evidence = []
        for number, part in enumerate(parts):
            u = part.at(self._normal(keys, 0, PILOT // 4, stream=stream + number))
            log_weights = self.space.joint_and_gradient(x, u)[0] - part.log_prob(u)
            evidence.append(log_weights.logsumexp(0).nan_to_num(-math.inf))
        found = torch.stack(evidence).softmax(0).nan_to_num(1 / len(parts))
        return Mixture(parts, 0.7 * found + 0.3 / len(parts))

    def _pilot(self, x: Tensor, keys: Tensor, mixture: Mixture, *, stream: int) -> tuple[Tensor, Tensor]:
        """Draws (K, B, D), and their log weights (K, B)."""
        chunks = list(self._chunks(x, keys, mixture, PILOT, stream=stream))
        return torch.cat([u for u, _ in chunks]), torch.cat([log_weights for _, log_weights in chunks])

    def _final(self, x: Tensor, keys: Tensor, mixture: Mixture, num_samples: int, rung: int) -> LogMarginal:
        total = WeightSum(len(x), num_samples, x.device)
        for _, log_weights in self._chunks(x, keys, mixture, num_samples, stream=0):
            total.add(log_weights)
            self.done(log_weights.numel())
        steps = GRADIENT * 8 * 2 * (min(max(self.space.dim, 16), MOST_DRAWS) // 2)
        cost = num_samples + rung * (PILOT + steps)
        numbers = {"rung": rung, "evaluations": cost}
        return total.result().with_details(**{name: torch.full((len(x),), n) for name, n in numbers.items()})

    def _chunks(
        self, x: Tensor, keys: Tensor, mixture: Mixture, num_samples: int, *, stream: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Draws and log weights, some samples at a time."""
        counts = [round(share * num_samples) for share in (GUIDE_SHARE, PRIOR_SHARE)]
        kinds = torch.tensor([1] * counts[0] + [2] * counts[1] + [0] * (num_samples - sum(counts)))
        kinds = kinds[torch.randperm(num_samples, generator=torch.Generator().manual_seed(self.seed % 2**63))]
        log_shares = [math.log(n / num_samples) if n else -math.inf for n in (num_samples - sum(counts), *counts)]
        size, drawn = max(1, AT_ONCE // len(x)), [0, 0, 0]
        for first in range(0, num_samples, size):
            some = kinds[first : first + size]
            u = mixture.at(
                self._normal(keys, first, len(some), stream=stream + 2),
                self._uniform(keys, first, len(some), stream=stream + 3),
            )
            for kind in (1, 2):
                if n := int((some == kind).sum()):
                    own = self._pair_draws(x, keys, drawn[kind], n, stream=stream + 3 + kind, prior=kind == 2)
                    u[(some == kind).to(u.device)] = own
                    drawn[kind] += n
            joint, guide, prior = self.space.densities(x, u)
            densities = torch.stack([mixture.log_prob(u), guide, prior]).nan_to_num(-math.inf)
            shares = torch.tensor(log_shares, dtype=u.dtype, device=u.device)[:, None, None]
            log_weights = joint - (densities + shares).logsumexp(0)
            yield u, log_weights.nan_to_num(-math.inf, math.inf)

    def _pair_draws(
        self, x: Tensor, keys: Tensor, first: int, count: int, *, stream: int, prior: bool = False
    ) -> Tensor:
        """Draws u (K, B, D) of the guide or the prior."""
        settings = x, keys, *self._numbers(keys, first, stream), count

        def draw(batch: Tensor, count: int) -> Tensor:
            return self.space.drawn(batch, count, prior=prior)

        return keyed(draw, *settings) if self.is_keyed else torch.cat(one_by_one(draw, *settings), 1)

    def _normal(self, keys: Tensor, first: int, count: int, *, stream: int) -> Tensor:
        with CounterRandom(keys, *self._numbers(keys, first, stream)[:1], count, self._numbers(keys, first, stream)[1]):
            return torch.randn(count, len(keys), self.space.dim, device=keys.device)

    def _uniform(self, keys: Tensor, first: int, count: int, *, stream: int) -> Tensor:
        with CounterRandom(keys, *self._numbers(keys, first, stream)[:1], count, self._numbers(keys, first, stream)[1]):
            return torch.rand(count, len(keys), device=keys.device)

    @staticmethod
    def _numbers(keys: Tensor, first: int, stream: int) -> tuple[Tensor, Tensor]:
        zero = torch.zeros((), dtype=torch.int64, device=keys.device)
        return zero + first, zero + STREAM + stream


def _farthest(u: Tensor, log_weights: Tensor, mixture: Mixture) -> Gaussians:
    """Gaussians like the first part, around that of three draws of large weight that lies farthest from all parts."""
    heaviest = log_weights.topk(min(3, len(log_weights)), 0).indices  # (3, B)
    heavy = u.gather(0, heaviest[..., None].expand(-1, -1, u.shape[-1]))
    distances = [torch.einsum("bij,kbj->kbi", part.inverse, heavy - part.mean).norm(dim=-1) for part in mixture.parts]
    farthest = torch.stack(distances).amin(0).argmax(0)  # (B,)
    mean = heavy.gather(0, farthest[None, :, None].expand(1, -1, u.shape[-1]))[0]
    return Gaussians(mean, mixture.parts[0].root, mixture.parts[0].inverse)
