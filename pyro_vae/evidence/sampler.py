"""Samples of a pair and their log weights, chunk by chunk within a memory budget."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from ..compiled.when_it_pays import SAVED_PER_SAMPLE, compile_if_worthwhile
from ..pairs.batch import Points
from ..pairs.modules import Callee
from ..pairs.particles import check_copies
from .chunking import chunk, chunks_within, peak_bytes
from .drawing import LogWeights, can_be_keyed, halves, handful, in_parts_alike, keyed, one_by_one, particle_log_weights
from .result import LogMarginal
from .weights import Moments, WeightSum

CPU_CHUNK = 4096  # (data point, sample) pairs that a processor's caches like best
BLOCK = 256  # samples drawn at once where random numbers cannot be told apart by data point
PILOT_SHARE = 0.9  # of a target standard error, which the pilot must reach so that fresh draws mostly reach the target
# Log weights that are summed up together: in many small portions, that takes a tenth of the time of drawing them.
WEIGHTS_AT_ONCE = 2**16
BYTES_OF_WEIGHT = 64  # while they are summed up, in double precision


class Sampler:
    """Draws and scores samples of a pair, chunk by chunk, for some of the data x, by their numbers.

    How they are drawn depends on all of x: what is left of an estimate, or is another process's, is drawn alike.
    """

    def __init__(
        self,
        model: Callee,
        guide: Callee,
        x: Points,
        keys: Tensor,
        defensive: float,
        num_samples: int,
        budget: int,
        chunk_size: int | None,
        compile: bool | Literal["auto"],
        precision: Literal["fp32", "bf16"],
    ) -> None:
        self.x, self.keys = x, keys
        self.at_once = min(WEIGHTS_AT_ONCE, budget // (10 * BYTES_OF_WEIGHT))
        few, num_points = handful(x), len(x)
        plain = particle_log_weights(model, guide, x[few], defensive=defensive)
        self.keyed = can_be_keyed(plain, x[few], keys[few])
        self.draw = functools.partial(keyed, plain) if self.keyed else functools.partial(_one_by_one, plain)
        if self.keyed:
            draw = functools.partial(self.draw, k=2)
            together = in_parts_alike(draw, x[few], keys[few], list(torch.arange(len(few)).split(1)))
            if not together:
                check_copies(model, guide, x[few])
                num_points = 1
            if chunk_size is None:
                some = few[: min(2, num_points)]
                most = CPU_CHUNK if x.device.type == "cpu" else None
                counts = num_samples, CPU_CHUNK
                (self.points, self.samples), largest = chunks_within(
                    budget,
                    lambda count: peak_bytes(functools.partial(self._rows, some, 0, count)),
                    len(some),
                    num_points,
                    counts,
                    most,
                )
                self.pairs = math.prod(largest)  # of data points and samples, however few are asked for
            else:
                self.points, self.samples = chunk(num_points, num_samples, pairs=chunk_size)
                self.pairs = chunk_size
        else:
            self.points, self.samples, self.pairs = 1, BLOCK, BLOCK
        saves = SAVED_PER_SAMPLE * num_points * num_samples if self.keyed else 0.0
        self.draw_full = compile_if_worthwhile(
            self.draw,
            pair=(model, guide),
            compile=compile,
            precision=precision,
            saves=saves,
            device=x.device,
        )

    def _rows(self, points: Tensor, first: int, count: int, stream: int = 0, *, full: bool = False) -> Tensor:
        """Log weights (count, B) of some data points, from sample number first on."""
        x, keys = self.x[points], self.keys[points]
        numbers = (torch.full((), number, device=x.device) for number in (first, stream))  # filled there: no waiting
        draw = self.draw_full if full else self.draw  # the last ones are not worth a graph of their own
        return draw(x, keys, *numbers, count)

    def depend_on_others(self, points: Tensor) -> Tensor:
        """Whether weights of some data points are other ones for each by itself, (B,): all of them, or none."""
        some, alike = points.to(self.x.device), True
        if self.keyed and len(some) > 1:
            draw, parts = functools.partial(self.draw, k=1), list(torch.arange(len(some), device=some.device).split(1))
            alike = in_parts_alike(draw, self.x[some], self.keys[some], parts)
        return torch.full((len(points),), not alike)

    def chunks(
        self, points: Tensor, first: int, count: int, stream: int, done: Callable[[int], Any]
    ) -> Iterator[tuple[slice, Tensor]]:
        """Log weights of the samples first, ..., first + count - 1, for some of the data points at a time: for each by
        itself where they depend on those beside it."""
        for start in range(0, len(points), self.points):
            some = points[start : start + self.points]
            draw, parts = functools.partial(self.draw, k=min(2, self.samples)), halves(len(some), some.device)
            alone = len(some) > 1 and not in_parts_alike(draw, self.x[some], self.keys[some], parts)
            for number in range(first, first + count, self.samples):
                draws = min(self.samples, first + count - number)
                full = (len(some), draws) == (self.points, self.samples)
                if alone:
                    rows = torch.cat([self._rows(point, number, draws, stream) for point in some.split(1)], 1)
                else:
                    rows = self._rows(some, number, draws, stream, full=full)
                yield slice(start, start + len(some)), rows
                done(draws * len(some))

    def estimate(self, points: Tensor, num_samples: int, done: Callable[[int], Any], stream: int = 0) -> LogMarginal:
        """The result with so many samples each."""
        results, points = [], points.to(self.x.device)
        for start in range(0, len(points), self.points):
            some = points[start : start + self.points]
            total = WeightSum(len(some), num_samples, self.x.device)
            waiting: list[Tensor] = []
            for _, rows in self.chunks(some, 0, num_samples, stream, done):
                waiting.append(rows)
                if len(waiting) * rows.numel() >= self.at_once:
                    total.add(torch.cat(waiting))
                    waiting = []
            if waiting:
                total.add(torch.cat(waiting))
            results.append(total.result())
        return LogMarginal.join(results)

    def to_target(
        self, points: Tensor, least: int, most: int, target: float, done: Callable[[int], Any]
    ) -> LogMarginal:
        """The result with as many samples as a pilot needs to reach the target."""
        needed = torch.zeros(len(points), dtype=torch.int64)
        active, moments, count = torch.arange(len(points)), Moments.empty(len(points), self.x.device), 0
        while len(active):
            more = least if count == 0 else min(count, most - count)
            for where, rows in self.chunks(points[active], count, more, 1, done):
                moments[where] = moments[where].plus(rows)
            count += more
            reached = (moments.relative_error(count) <= PILOT_SHARE * target).cpu()
            needed[active] = count
            going = ~reached & torch.tensor(count < most)
            active, moments = active[going], moments[going.to(self.x.device)]
        counts = needed.unique().tolist()
        results = [self.estimate(points[needed == count], count, done) for count in counts]
        order = torch.cat([(needed == count).nonzero()[:, 0] for count in counts]).argsort()
        return LogMarginal.join(results)[order].with_details(pilot_samples=needed)


def _one_by_one(plain: LogWeights, x: Points, keys: Tensor, first: Tensor, stream: Tensor, k: int) -> Tensor:
    return torch.cat(one_by_one(plain, x, keys, first, stream, k), 1)
