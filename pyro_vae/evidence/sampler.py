"""Samples of a pair and their log weights, chunk by chunk within a memory budget."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from ..compiled.elbo import pair_name
from ..compiled.when_it_pays import SAVED_PER_SAMPLE, compile_if_worthwhile
from ..pairs.modules import Callee, modules_of
from .chunking import chunk, chunk_within, peak_bytes
from .drawing import draws_by_key, keyed, particle_log_weights, unkeyed
from .result import LogMarginal
from .weights import Moments, WeightSum

CPU_CHUNK = 4096  # (image, sample) pairs that a processor's caches like best
BLOCK = 256  # samples drawn at once where random numbers cannot be told apart by image
MARGIN = 0.9  # of a target standard error that the pilot must reach, so that the fresh draws reach it most of the time
# Log weights that are summed up together: in many small portions, that takes a tenth of the time of drawing them.
WEIGHTS_AT_ONCE = 2**16
BYTES_OF_WEIGHT = 64  # while they are summed up, in double precision


class Sampler:
    """Draws and scores samples of a pair, chunk by chunk, for num_images of the images x, given by their numbers."""

    def __init__(
        self,
        model: Callee,
        guide: Callee,
        x: Tensor,
        keys: Tensor,
        num_images: int,
        defensive: float,
        num_samples: int,
        budget: int,
        chunk_size: int | None,
        compile: bool | Literal["auto"],
        precision: Literal["fp32", "bf16"],
    ) -> None:
        self.x, self.keys = x, keys
        self.at_once = min(WEIGHTS_AT_ONCE, budget // (10 * BYTES_OF_WEIGHT))
        plain = particle_log_weights(model, guide, x, defensive=defensive)
        self.keyed = draws_by_key(plain, x[:3], keys[:3])
        self.draw = functools.partial(keyed, plain) if self.keyed else unkeyed(plain)
        if self.keyed:
            if chunk_size is None:
                some = torch.arange(min(2, len(x)))
                peaks = [peak_bytes(functools.partial(self._rows, some, 0, n)) for n in (1, 4, 12)]
                most = CPU_CHUNK if x.device.type == "cpu" else None
                self.images, self.samples = chunk_within(budget, peaks, len(some), num_images, num_samples, most)
            else:
                self.images, self.samples = chunk(num_images, num_samples, pairs=chunk_size)
        else:
            self.images, self.samples = 1, BLOCK
        saves = SAVED_PER_SAMPLE * num_images * num_samples if self.keyed else 0.0
        self.draw_full = compile_if_worthwhile(
            self.draw,
            modules=modules_of(model, guide).values(),
            compile=compile,
            precision=precision,
            saves=saves,
            device=x.device,
            name=pair_name(model, guide),
        )

    def _rows(self, images: Tensor, first: int, count: int, stream: int = 0, *, full: bool = False) -> Tensor:
        """Log weights (count, B) of some images, from sample number first on."""
        x, keys = self.x[images], self.keys[images]
        numbers = (torch.full((), number, device=x.device) for number in (first, stream))  # filled there: no waiting
        draw = self.draw_full if full else self.draw  # the last ones are not worth a graph of their own
        return draw(x, keys, *numbers, count)

    def chunks(
        self, images: Tensor, first: int, count: int, stream: int, done: Callable[[int], Any]
    ) -> Iterator[tuple[slice, Tensor]]:
        """Log weights of the samples first, ..., first + count - 1, for some of the images at a time."""
        for start in range(0, len(images), self.images):
            some = images[start : start + self.images]
            for number in range(first, first + count, self.samples):
                draws = min(self.samples, first + count - number)
                full = (len(some), draws) == (self.images, self.samples)
                yield slice(start, start + len(some)), self._rows(some, number, draws, stream, full=full)
                done(draws * len(some))

    def estimate(self, images: Tensor, num_samples: int, done: Callable[[int], Any], stream: int = 0) -> LogMarginal:
        """The result with so many samples each."""
        results, images = [], images.to(self.x.device)
        for start in range(0, len(images), self.images):
            some = images[start : start + self.images]
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
        self, images: Tensor, least: int, most: int, target: float, done: Callable[[int], Any]
    ) -> LogMarginal:
        """The result with as many samples as a pilot needs to reach the target."""
        needed = torch.zeros(len(images), dtype=torch.int64)
        active, moments, count = torch.arange(len(images)), Moments.empty(len(images), self.x.device), 0
        while len(active):
            more = least if count == 0 else min(count, most - count)
            for where, rows in self.chunks(images[active], count, more, 1, done):
                moments[where] = moments[where].plus(rows)
            count += more
            reached = (moments.relative_error(count) <= MARGIN * target).cpu()
            needed[active] = count
            going = ~reached & torch.tensor(count < most)
            active, moments = active[going], moments[going.to(self.x.device)]
        counts = needed.unique().tolist()
        results = [self.estimate(images[needed == count], count, done) for count in counts]
        order = torch.cat([(needed == count).nonzero()[:, 0] for count in counts]).argsort()
        return LogMarginal.join(results)[order].with_details(pilot_samples=needed)
