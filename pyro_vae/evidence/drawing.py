"""How samples of a pair are drawn and weighted: all particles at once, each data point with random numbers of its
own."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..pairs.batch import Points
from ..pairs.modules import Callee
from ..pairs.particles import broadcasts, in_particle_plate, repeat_data
from ..pairs.scoring import score, score_traces, traces
from ..pairs.sites import is_latent
from .counter_random import CounterRandom, data_keys, generators, seed_of

LogWeights = Callable[[Any, int], Tensor]  # of data points (B, ...) and K, the log weights (K, B)
Drawn = TypeVar("Drawn")
TRIED = 8  # data points on which a pair is tried


def handful(x: Points) -> Tensor:
    """Numbers of a few of the data points, on which a pair is tried: the first, the last, and some by chance."""
    between = torch.randperm(max(0, len(x) - 2), generator=torch.Generator().manual_seed(0))[: TRIED - 2] + 1
    return torch.cat([torch.arange(min(1, len(x))), between, torch.arange(len(x) - 1, len(x))]).unique().to(x.device)


def particle_log_weights(model: Callee, guide: Callee, x: Points, *, defensive: float = 0.0) -> LogWeights:
    """The fastest sound way to get log weights (K, B) of a pair: all particles in one plate, or the data repeated.

    A plate at dim -2 encodes each data point once, but needs a pair that broadcasts over an extra leading dimension.
    Whether it does is tried on a few data points x: the same latents must have the same log weights, one data point and
    particle at a time. If they do not, the data are repeated, which every pair supports.
    """

    def weights(p: Callee, q: Callee, batch: Points, shape: tuple[int, ...]) -> Tensor:
        if not defensive:
            return score_traces(*traces(p, q, batch), shape=shape).log_weight
        scores = score_traces(*_mixed_traces(p, q, batch, defensive, shape), shape=shape)
        log_mixture = torch.logaddexp(math.log1p(-defensive) + scores.log_guide, math.log(defensive) + scores.log_prior)
        return scores.log_likelihood + scores.log_prior - log_mixture

    def plated(batch: Points, count: int) -> Tensor:
        p, q = in_particle_plate(model, count), in_particle_plate(guide, count)
        return weights(p, q, batch, (count, len(batch)))

    def repeated(batch: Points, count: int) -> Tensor:
        return weights(model, guide, repeat_data(batch, count), (count * len(batch),)).view(count, len(batch))

    return plated if broadcasts(model, guide, x[:3]) else repeated


class _FromPrior(Messenger):
    """Gives the latents of a model, particle by particle, a draw of the guide or one of the prior."""

    def __init__(self, guide_trace: poutine.Trace, from_prior: Tensor) -> None:
        super().__init__()
        self.guide_trace, self.from_prior = guide_trace, from_prior

    def _pyro_sample(self, msg: Any) -> None:
        if is_latent(msg) and msg["name"] in self.guide_trace:
            from_prior = self.from_prior.reshape(self.from_prior.shape + (1,) * msg["fn"].event_dim)
            # Sites that depend on others see those of their own particle, so this is a draw of the joint prior.
            msg["value"] = torch.where(from_prior, msg["fn"].sample(), self.guide_trace.nodes[msg["name"]]["value"])
            msg["done"] = True


def _mixed_traces(
    model: Callee, guide: Callee, x: Points, share: float, shape: tuple[int, ...]
) -> tuple[poutine.Trace, poutine.Trace]:
    """As `traces`, with that share of the draws (of the given shape) from the prior; the guide is scored there, too."""
    _, guide_trace = traces(model, guide, x)
    from_prior = torch.rand(shape, device=x.device) < share
    with _FromPrior(guide_trace, from_prior):
        model_trace = poutine.trace(model).get_trace(x)
    return model_trace, poutine.trace(poutine.replay(guide, trace=model_trace)).get_trace(x)


def keyed(draw: Callable[[Any, int], Drawn], x: Points, keys: Tensor, first: Tensor, stream: Tensor, k: int) -> Drawn:
    """draw(x, K) with random numbers by data point and sample, the samples first, ..., first + K - 1."""
    with CounterRandom(keys, first, k, stream):
        return draw(x, k)


def one_by_one(
    draw: Callable[[Any, int], Drawn], x: Points, keys: Tensor, first: Tensor, stream: Tensor, k: int
) -> list[Drawn]:
    """draw(x, K) of each data point by itself, from torch's generator, seeded anew for each block of samples."""
    results = []
    for point, key in zip(x.split(1), keys.tolist(), strict=True):
        torch.manual_seed(seed_of(key, int(first), int(stream)))
        results.append(draw(point, k))
    return results


def can_be_keyed(draw: Callable[[Any, int], object], x: Points, keys: Tensor) -> bool:
    """Whether all random numbers of draw(x, K) can be told apart by data point: torch's own generator stays untouched.

    Where they cannot, draw `one_by_one`.
    """
    before = generators(x.device)
    zero = torch.zeros((), dtype=torch.int64, device=x.device)
    for points, count in ((3, 2), (1, 3)):  # by one size alone, an inner plate of it passes for data points and samples
        keyed(draw, x[:points], keys[:points], zero, zero, count)
    return all(map(torch.equal, before, generators(x.device)))


def in_parts_alike(draw: Callable[..., Tensor], x: Points, keys: Tensor, parts: list[Tensor]) -> bool:
    """Whether draw(x, keys, first, stream), (K, B), is the same part by part: that of a data point does not depend on
    those beside it."""
    zero = torch.zeros((), dtype=torch.int64, device=x.device)

    def alike(stream: Tensor) -> bool:
        together = draw(x, keys, zero, stream)
        alone = [draw(x[part], keys[part], zero, stream) for part in parts]
        pairs = zip(parts, alone, strict=True)
        return all(torch.allclose(together[:, p], a, rtol=1e-4, atol=1e-3, equal_nan=True) for p, a in pairs)

    # Rounding differs from part to part, and can turn over a discrete draw, or a rejected one: not twice in a row.
    return alike(zero) or alike(zero + 1)


def halves(count: int, device: torch.device) -> list[Tensor]:
    """Numbers of the first and of the second half; nothing of a single data point."""
    numbers = torch.arange(count, device=device)
    return [numbers[: count // 2], numbers[count // 2 :]] if count > 1 else []


def check_by_itself(model: Callee, guide: Callee, x: Points, batch_size: int) -> None:
    """Raise a ValueError where the log weight of a data point depends on those beside it, in a handful or in a batch of
    x.

    A pair whose random numbers cannot be told apart by data point is let pass.
    """

    def weights(batch: Points, count: int) -> Tensor:
        return score(model, guide, repeat_data(batch, count)).log_weight.view(count, len(batch))

    few, keys = handful(x), data_keys(x, 0)
    if not can_be_keyed(weights, x[few], keys[few]):
        return
    parts = [(few, list(torch.arange(len(few), device=x.device).split(1)))]
    numbers = torch.arange(len(x), device=x.device).split(batch_size)
    parts += [(batch, halves(len(batch), x.device)) for batch in numbers]
    draw = functools.partial(keyed, weights, k=1)
    if not all(in_parts_alike(draw, x[batch], keys[batch], some) for batch, some in parts):
        raise ValueError(
            "Expected a pair that scores each data point by itself; got other log weights without those beside it. "
            "Remove what looks at the batch, such as its mean; log_marginal weights data points one by one then."
        )
