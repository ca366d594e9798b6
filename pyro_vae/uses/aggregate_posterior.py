"""The aggregate posterior q(z), the mean of q(z|x) over a pool of data points: bounds of what z tells about x."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ..evidence.drawing import handful
from ..pairs.batch import Points
from ..pairs.dimensions import rows
from ..pairs.modules import Callee
from ..pairs.particles import in_particle_plate, repeat_data
from ..pairs.scoring import score_traces, traces
from ..pairs.sites import is_summed_out, latents_of, sample_sites
from ..pairs.supports import factors

LARGEST = 2**21  # numbers in memory at once while data points are scored against each other


@dataclass(frozen=True)
class Bounds:
    """Draws behind bounds of the mutual information, and of the rate, of the same data points."""

    lower: Tensor  # (K, N), draws of log q(z|x) - log q(z), q(z) over the whole pool
    upper: Tensor  # (K, N), the same, q(z) over the other data points of the pool
    rate: Tensor  # (K, N)
    information: Tensor | None  # (N, D), of each dimension


def aggregate(model: Callee, guide: Callee, x: Points, num_samples: int, batch_size: int, *, each: bool) -> Bounds:
    """Score the draws of every data point of the pool under all of the pool.

    The spread of the draws over data points is an honest error although they share the pool: to first order x_m moves
    the mean of log q(z) by E[q(z|x_m) / q(z)] under q(z), which is 1 for each m.
    """
    foreign = _scoring(guide, x, each=each)
    width = LARGEST // (_draw(guide, x[:1])[1] if each else 1)
    lower, upper, rates, by_dimension = [], [], [], []
    for _ in range(num_samples):
        for start in range(0, len(x), batch_size):
            batch = x[start : start + batch_size]
            model_trace, guide_trace = traces(model, guide, batch)
            rates.append(score_traces(model_trace, guide_trace, shape=(len(batch),)).rate.double())
            own, others = [], []
            step = max(1, width // min(len(x), batch_size))
            for z in range(0, len(batch), step):
                rows = torch.arange(z, min(z + step, len(batch)), device=x.device)
                values = {n: _take(s, rows) for n, s in latents_of(guide_trace).items()}
                mine, rest = _others(foreign, values, x, rows + start, batch_size)
                own.append(mine)
                others.append(rest)
            mine, rest = torch.cat(own), torch.cat(others)  # (B, 1 + D): all dimensions together, then each
            gain = mine - torch.logaddexp(mine, rest) + math.log(len(x))
            lower.append(gain[:, 0])
            upper.append((mine - rest)[:, 0] + math.log(len(x) - 1))
            by_dimension.append(gain[:, 1:])
    stacked = [torch.cat(part).view(num_samples, len(x), *part[0].shape[1:]) for part in (lower, upper, rates)]
    information = torch.cat(by_dimension).view(num_samples, len(x), -1).mean(0) if each else None
    return Bounds(stacked[0], stacked[1], stacked[2], information)


Values = dict[str, tuple[Tensor, int]]  # of the sites, each with its number of event dimensions


def _take(site: Any, rows: Points) -> tuple[Tensor, int]:
    event_dim = site["fn"].event_dim
    return site["value"].index_select(-1 - event_dim, rows), event_dim


def _others(foreign: Any, values: Values, x: Points, numbers: Tensor, batch_size: int) -> tuple[Tensor, Tensor]:
    """log q(z|its own x), and the log of the sum of q(z|x_m) over all other m, each (Z, 1 + D)."""
    own, sums = None, []
    for start in range(0, len(x), batch_size):
        scores = foreign(values, x[start : start + batch_size])  # (Z, M, 1 + D)
        inside = numbers[:, None] == torch.arange(start, start + scores.shape[1], device=x.device)  # (Z, M)
        mine = scores.masked_fill(~inside[..., None], -math.inf).amax(1)
        own = mine if own is None else torch.maximum(own, mine)
        sums.append(scores.masked_fill(inside[..., None], -math.inf).logsumexp(1))
    assert own is not None
    return own, torch.stack(sums).logsumexp(0)


def _draw(guide: Callee, x: Points) -> tuple[Values, int]:
    latents = latents_of(poutine.trace(guide).get_trace(x))
    values = {n: _take(s, torch.arange(len(x), device=x.device)) for n, s in latents.items()}
    return values, sum(rows(v, e, (len(x),)).shape[-1] for v, e in values.values())


def _scoring(guide: Callee, x: Points, *, each: bool) -> Callable[[Values, Tensor], Tensor]:
    """How to get log q(z|x) for all z and x, (Z, M, 1) or (Z, M, 1 + D): z in a plate, or the data repeated."""

    def terms(trace: poutine.Trace, shape: tuple[int, ...]) -> Tensor:
        total = score_traces(poutine.Trace(), trace, shape=shape).log_guide.double()
        if not each:
            return total[..., None]
        ((_, site),) = sample_sites(trace)
        single = factors(site["fn"]).log_prob(site["value"])
        return torch.cat([total[..., None], rows(single, site["fn"].event_dim, shape)], -1)

    def plated(values: Values, batch: Points) -> Tensor:
        count = len(next(iter(values.values()))[0])
        data = {n: v.unsqueeze(1).expand(count, len(batch), *v.shape[1:]) for n, (v, _) in values.items()}
        fixed = poutine.condition(in_particle_plate(guide, count), data=data)
        return terms(poutine.trace(fixed).get_trace(batch), (count, len(batch)))

    def repeated(values: Values, batch: Points) -> Tensor:
        count = next(v.shape[-1 - e] for v, e in values.values())
        data = {n: v.repeat_interleave(len(batch), -1 - e) for n, (v, e) in values.items()}
        rows = repeat_data(batch, count)
        trace = poutine.trace(poutine.condition(guide, data=data)).get_trace(rows)
        return terms(trace, (len(rows),)).unflatten(0, (count, len(batch)))

    few = x[handful(x)]
    values, _ = _draw(guide, x[:2])
    slow = repeated(values, few)
    try:
        return plated if torch.allclose(plated(values, few), slow, rtol=1e-4, atol=1e-3) else repeated
    except (RuntimeError, ValueError, IndexError, TypeError):
        return repeated


def factorizes(guide: Callee, x: Points) -> bool:
    """Whether a guide has one site, of independent dimensions that all count."""
    trace = poutine.trace(guide).get_trace(x)
    sites = list(latents_of(trace).values())
    is_single = not is_summed_out(trace) and len(sites) == 1
    return is_single and factors(sites[0]["fn"]) is not None and sites[0]["mask"] is None
