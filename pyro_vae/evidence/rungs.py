"""Which rung gives the estimate of a data point: the guide where a pilot trusts it, else fitted proposals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from .escalation import Escalation, with_rung
from .latent_space import LatentSpace, NotScored
from .result import LogMarginal
from .sampler import Sampler

AT_ONCE = 4096  # (data point, sample) pairs on a CPU, at most; on a GPU as many as the memory budget allows
POINTS, MATRICES = {"cpu": 64, "cuda": 512}, 2**24  # data points at once; numbers in their covariance matrices

Found = TypeVar("Found")


def escalated(
    sampler: Sampler,
    space: LatentSpace,
    points: Tensor,
    num_samples: int,
    target: float | None,
    most: int,
    seed: int,
    done: Callable[[int], Any],
    raised: list[NotScored],
) -> LogMarginal:
    """The result for some data points, by their numbers: from the guide where a pilot trusts it, else escalated.

    The guide also draws those whose model raises an error at other draws, which are added to ``raised``.
    """
    kind = sampler.x.device.type
    at_once = min(AT_ONCE, sampler.pairs) if kind == "cpu" else sampler.pairs
    escalation = Escalation(space, is_keyed=sampler.keyed, seed=seed, at_once=at_once, done=done)
    together = 1 if sampler.points == 1 else max(1, min(POINTS.get(kind, 64), at_once // 16, MATRICES // space.dim**2))
    alone = torch.cat([sampler.depend_on_others(points[some]) for some in torch.arange(len(points)).split(together)])

    def batches(some: Tensor) -> list[Tensor]:
        return [part for part in (*some[~alone[some]].split(together), *some[alone[some]].split(1)) if len(part)]

    def trusted(some: Tensor) -> Tensor:
        which = points[some].to(sampler.x.device)
        return escalation.trusts_guide(sampler.x[which], sampler.keys[which]).cpu()

    def fitted_to(some: Tensor) -> LogMarginal:
        which = points[some].to(sampler.x.device)
        return escalation.estimate(sampler.x[which], sampler.keys[which], num_samples, target, most)

    doubted = [some[~good] for some, good in _tried(trusted, batches(torch.arange(len(points))), raised)]
    found = _tried(fitted_to, batches(torch.cat(doubted)), raised) if doubted else []
    order, results = [some for some, _ in found], [result for _, result in found]
    of_guide = torch.ones(len(points), dtype=torch.bool)
    for some in order:
        of_guide[some] = False
    if of_guide.any():
        if target is None:
            result = sampler.estimate(points[of_guide], num_samples, done)
        else:
            result = sampler.to_target(points[of_guide], num_samples, most, target, done)
        counts = result.num_samples + result.details.get("pilot_samples", 0) + escalation.pilot
        nothing = torch.zeros(len(result)) if escalation.explores else None
        results.append(with_rung(result, 0, evaluations=counts, left_out=nothing))
        order.append(of_guide.nonzero()[:, 0])
    return LogMarginal.join(results)[torch.cat(order).argsort()]


def _tried(
    attempt: Callable[[Tensor], Found], batches: list[Tensor], raised: list[NotScored]
) -> list[tuple[Tensor, Found]]:
    """What an attempt gives for batches of data points; where the pair raises an error, or a matrix cannot be
    decomposed, for each of them that does not."""
    found = []
    for some in batches:
        try:
            found.append((some, attempt(some)))
        except (NotScored, torch.linalg.LinAlgError) as error:
            if len(some) > 1:
                found += _tried(attempt, list(some.split(1)), raised)
            elif isinstance(error, NotScored):
                raised.append(error)
    return found
