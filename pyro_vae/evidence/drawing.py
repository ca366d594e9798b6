"""How samples of a pair are drawn and weighted: all particles at once, each image with random numbers of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..pairs.modules import Callee
from ..pairs.particles import broadcasts, in_particle_plate, repeat_data
from ..pairs.scoring import score_traces, traces
from .counter_random import CounterRandom, generators, seed_of
from .proposals import mixed_traces

LogWeights = Callable[[Tensor, int], Tensor]  # of images (B, ...) and K, the log weights (K, B)


def particle_log_weights(model: Callee, guide: Callee, x: Tensor, *, defensive: float = 0.0) -> LogWeights:
    """The fastest sound way to get log weights (K, B) of a pair: all particles in one plate, or images repeated.

    A plate at dim -2 encodes each image once, but needs a pair that broadcasts over an extra leading dimension. Whether
    it does is tried on a few images: the same latents must have the same log weights, one image and particle at a time.
    If they do not, images are repeated, which every pair supports.
    """

    def weights(p: Callee, q: Callee, batch: Tensor, shape: tuple[int, ...]) -> Tensor:
        if not defensive:
            return score_traces(*traces(p, q, batch), shape=shape).log_weight
        scores = score_traces(*mixed_traces(p, q, batch, defensive, shape), shape=shape)
        log_mixture = torch.logaddexp(math.log1p(-defensive) + scores.log_guide, math.log(defensive) + scores.log_prior)
        return scores.log_likelihood + scores.log_prior - log_mixture

    def plated(batch: Tensor, count: int) -> Tensor:
        p, q = in_particle_plate(model, count), in_particle_plate(guide, count)
        return weights(p, q, batch, (count, len(batch)))

    def repeated(batch: Tensor, count: int) -> Tensor:
        return weights(model, guide, repeat_data(batch, count), (count * len(batch),)).view(count, len(batch))

    return plated if broadcasts(model, guide, x[:3]) else repeated


def keyed(plain: LogWeights, x: Tensor, keys: Tensor, first: Tensor, stream: Tensor, count: int) -> Tensor:
    """Log weights (count, B), drawn by image and sample."""
    with CounterRandom(keys, first, count, stream):
        return plain(x, count)


def unkeyed(plain: LogWeights) -> Callable[..., Tensor]:
    """One image at a time, from torch's generator, seeded anew for each block of samples."""

    def draw(x: Tensor, keys: Tensor, first: Tensor, stream: Tensor, count: int) -> Tensor:
        columns = []
        for image, key in zip(x.split(1), keys.tolist(), strict=True):
            torch.manual_seed(seed_of(key, int(first), int(stream)))
            columns.append(plain(image, count))
        return torch.cat(columns, 1)

    return draw


def draws_by_key(plain: LogWeights, x: Tensor, keys: Tensor) -> bool:
    """Whether an image's weights are its own: all random numbers of the pair can be told apart by image (torch's own
    generator stays untouched), and the images beside it change nothing."""
    before = generators(x.device)
    zero = torch.zeros((), dtype=torch.int64, device=x.device)
    # By one size alone, an inner plate of it passes for images and samples.
    together, alone = (keyed(plain, x[:n], keys[:n], zero, zero, count) for n, count in ((3, 2), (1, 3)))
    same = torch.allclose(together[:2, :1], alone[:2], rtol=1e-4, atol=1e-3, equal_nan=True)
    return same and all(map(torch.equal, before, generators(x.device)))
