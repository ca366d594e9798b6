"""Random numbers in a pair's latent space, each of which belongs to a data point and a sample."""

from __future__ import annotations

import torch
from torch import Tensor

from ..pairs.batch import Points
from .counter_random import CounterRandom
from .drawing import keyed, one_by_one
from .latent_space import LatentSpace

STREAM = 2**29  # where the streams of random numbers of these draws begin


class LatentDraws:
    """Noise, and draws of guide and prior, for data points by their keys (B, 2), samples from a number ``first`` on.

    ``is_keyed`` says whether draws of the pair can be told apart by data point; ``at_once`` (data point, sample) pairs
    are drawn together.
    """

    def __init__(self, space: LatentSpace, *, is_keyed: bool, at_once: int) -> None:
        self.space, self.is_keyed, self.at_once = space, is_keyed, at_once

    def normal(self, keys: Tensor, first: int, count: int, *, stream: int) -> Tensor:
        """Standard normal noise (K, B, D)."""
        with self.numbered(keys, first, count, stream=stream):
            return torch.randn(count, len(keys), self.space.dim, dtype=self.space.dtype, device=keys.device)

    def uniform(self, keys: Tensor, first: int, count: int, *, stream: int) -> Tensor:
        """Uniform numbers (K, B)."""
        with self.numbered(keys, first, count, stream=stream):
            return torch.rand(count, len(keys), dtype=self.space.dtype, device=keys.device)

    def of_pair(self, x: Points, keys: Tensor, first: int, count: int, *, stream: int, prior: bool = False) -> Tensor:
        """Draws u (K, B, D) of the guide or the prior."""
        settings = x, keys, *_numbers(keys, first, stream), count

        def draw(batch: Points, count: int) -> Tensor:
            return self.space.drawn(batch, count, prior=prior)

        return keyed(draw, *settings) if self.is_keyed else torch.cat(one_by_one(draw, *settings), 1)

    def in_portions(self, x: Points, keys: Tensor, count: int, *, stream: int, prior: bool = False) -> Tensor:
        """The first draws u (count, B, D) of the guide or the prior, some at a time."""
        size = max(1, self.at_once // len(x))
        firsts = range(0, count, size)
        draws = [self.of_pair(x, keys, i, min(size, count - i), stream=stream, prior=prior) for i in firsts]
        return torch.cat(draws)

    @staticmethod
    def numbered(keys: Tensor, first: int, count: int, *, stream: int) -> CounterRandom:
        """Inside, torch's random functions draw by data point and sample."""
        first_number, number = _numbers(keys, first, stream)
        return CounterRandom(keys, first_number, count, number)


def _numbers(keys: Tensor, first: int, stream: int) -> tuple[Tensor, Tensor]:
    zero = torch.zeros((), dtype=torch.int64, device=keys.device)
    return zero + first, zero + STREAM + stream
