"""Random numbers that belong to a data point and a sample, whatever else is drawn in the same call.

torch's generators hand out numbers in the order in which they are asked for, so that a result changes with the size of
the chunks. Here each number is a function of the seed, the data point's content, the number of the sample, and its
place in the call (a counter-based generator): the same for any chunking, order of data points or number of processes.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ..compiled.torch_private import is_recording
from ..pairs.batch import Points, tensors_of
from .philox import MASK, philox, philox_by_numpy
from .torch_calls_private import DRAWS_DIRICHLET, DRAWS_GAMMA

GAMMA_TRIALS = 24  # each accepts at least 95%: all fail once in 10^31


def content_digests(x: Points) -> list[bytes]:
    """A digest of the content of each data point, 16 bytes."""
    entries = [entry.detach().cpu().reshape(len(x), -1).contiguous() for entry in tensors_of(x)]
    rows = torch.cat([entry.view(torch.uint8) for entry in entries], 1).numpy()  # bytes: NumPy knows no bfloat16
    return [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]


def data_digests(x: Points) -> Tensor:
    """A digest of the content of each data point, int64 (N,), on the CPU."""
    return torch.frombuffer(bytearray(b"".join(digest[:8] for digest in content_digests(x))), dtype=torch.int64)


def data_keys(x: Points, seed: int) -> Tensor:
    """A key of 64 bits for each data point (N, 2), two halves as int64, from the seed, its content, and how often the
    same content came before it."""
    met: Counter[bytes] = Counter()
    digests = []
    for content in content_digests(x):
        numbers = (seed % 2**64).to_bytes(8, "little") + met[content].to_bytes(8, "little")
        met[content] += 1
        digests.append(hashlib.blake2b(content, digest_size=8, key=numbers).digest())
    halves = torch.frombuffer(bytearray(b"".join(digests)), dtype=torch.int32).view(len(x), 2).long() & MASK
    return halves.to(x.device)


def generators(device: torch.device) -> list[Tensor]:
    """States of torch's own generators, which change when one of them is drawn from."""
    return [torch.random.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def seed_of(key: list[int], *numbers: int) -> int:
    """A seed for torch's own generator, for one data point and what is to be drawn for it."""
    words = b"".join(number.to_bytes(8, "little") for number in (*key, *numbers))
    return int.from_bytes(hashlib.blake2b(words, digest_size=8).digest(), "little") >> 1


class CounterRandom(TorchFunctionMode):
    """Inside, torch's random functions draw tensors (K, B, ...) or (K B, ...) by data point and sample.

    Other shapes and functions not listed here go to torch's generator as usual: `torch.random.get_rng_state` tells
    whether that has happened.

    Args:
        keys: of `data_keys` (B, 2).
        first: number of the first sample, int64 of shape (): the samples are first, ..., first + K - 1.
        num_samples: K.
        stream: number of the call, where one data point and sample takes part in several, int64 of shape ().

    Reference:
        Box, Muller 1958; Marsaglia, Tsang 2000, "A simple method for generating gamma variables"; the generator's own
        in `pyro_vae.evidence.philox`.
    """

    def __init__(self, keys: Tensor, first: Tensor, num_samples: int, stream: Tensor | None = None) -> None:
        super().__init__()
        self.keys, self.first, self.num_samples = keys, first, num_samples
        self.stream = torch.zeros((), dtype=torch.int64, device=keys.device) if stream is None else stream
        self.calls = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in DRAWS and kwargs.get("generator") is None and kwargs.get("out") is None:
            given = {name: value for name, value in kwargs.items() if name not in IRRELEVANT}
            if (drawn := DRAWS[func](self, *args, **given)) is not None:
                return drawn
        return func(*args, **kwargs)

    def words(self, shape: Any) -> tuple[Tensor, int] | None:
        """Random words of 32 bits (K, B, n), n a multiple of 4 that is enough; and how many numbers a data point
        and sample has. None if the shape is not by data point and sample."""
        shape, rows = torch.Size(shape), (self.num_samples, len(self.keys))
        if shape[:2] == rows:
            count = math.prod(shape[2:])
        elif shape[:1] == (rows[0] * rows[1],):
            count = math.prod(shape[1:])
        else:
            return None
        device = self.keys.device
        samples = self.first + torch.arange(rows[0], device=device)
        blocks = torch.arange(-(-count // 4), device=device)
        others = blocks, torch.full((), self.calls, dtype=torch.int64, device=device), self.stream
        self.calls += 1
        if device.type == "cpu" and not is_recording():
            return philox_by_numpy(samples, others, self.keys).flatten(-2), count
        key = self.keys[:, 0, None], self.keys[:, 1, None]
        four = philox((samples[:, None, None], *others), key)
        return torch.stack(torch.broadcast_tensors(*four), -1).flatten(-2), count

    def uniform(self, shape: Any, dtype: torch.dtype) -> Tensor | None:
        """Numbers in (0, 1)."""
        if (found := self.words(shape)) is None:
            return None
        bits, count = found
        used = 32 if dtype == torch.float64 else 23  # so that adding a half is exact, and never rounds up to 1
        return (((bits[..., :count] >> (32 - used)).to(dtype) + 0.5) * 2.0**-used).reshape(shape)

    def normal(self, shape: Any, dtype: torch.dtype) -> Tensor | None:
        """Standard normal numbers, two from each two words."""
        if (found := self.words(shape)) is None:
            return None
        bits, count = found
        radius, angle = ((bits.to(dtype) + 0.5) * 2.0**-32).chunk(2, -1)
        radius, angle = (-2 * radius.log()).sqrt(), 2 * math.pi * angle  # a radius bit that rounds to 1 gives 0
        return torch.cat([radius * angle.cos(), radius * angle.sin()], -1)[..., :count].reshape(shape)

    def log_gamma(self, concentration: Tensor) -> Tensor | None:
        """Logarithms of gamma variables of rate 1, by rejection with a fixed number of trials: a graph has all of
        them. Variables of a small concentration are often too small for a float themselves."""
        shape, dtype = concentration.shape, concentration.dtype
        if (boost := self.uniform(shape, dtype)) is None:
            return None
        small = concentration < 1
        d = torch.where(small, concentration + 1, concentration) - 1 / 3
        accepted, result = torch.zeros_like(small), d.log()
        for trial in range(GAMMA_TRIALS):
            z, u = self.normal(shape, dtype), self.uniform(shape, dtype)
            assert z is not None
            assert u is not None
            v = (1 + z / (3 * d.sqrt())) ** 3
            good = (v > 0) & (u.log() < z.square() / 2 + d - d * v + d * v.clamp(min=1e-30).log())
            result = torch.where(good & ~accepted, d.log() + v.clamp(min=1e-30).log(), result)
            accepted = accepted | good
            if not is_recording() and accepted.all():
                self.calls += 2 * (GAMMA_TRIALS - trial - 1)  # so that what comes after is the same
                break
        return torch.where(small, result + boost.log() / concentration, result)


# What torch.distributions and Pyro's draw with.

IRRELEVANT = {"generator", "out", "device", "layout", "requires_grad", "pin_memory", "memory_format"}
UNIFORM, NORMAL = CounterRandom.uniform, CounterRandom.normal
Numbers = Callable[[CounterRandom, Any, torch.dtype], Tensor | None]  # one of the two


def _sized(numbers: Numbers, mode: CounterRandom, *size: Any, dtype: Any = None, **named: Any) -> Tensor | None:
    shape = named.get("size", size[0] if len(size) == 1 and not isinstance(size[0], int) else size)
    return numbers(mode, shape, dtype or torch.get_default_dtype())


def _like(numbers: Numbers, mode: CounterRandom, like: Tensor, dtype: Any = None) -> Tensor | None:
    return numbers(mode, like.shape, dtype or like.dtype)


def _filled(
    numbers: Numbers, transform: Callable[..., Tensor], mode: CounterRandom, target: Tensor, *args: Any, **kwargs: Any
) -> Tensor | None:
    drawn = numbers(mode, target.shape, target.dtype) if target.is_floating_point() else None
    return None if drawn is None else target.copy_(transform(drawn, *args, **kwargs))


def _normal(mode: CounterRandom, mean: Any, std: Any = 1.0, size: Any = None, dtype: Any = None) -> Tensor | None:
    like = mean if isinstance(mean, Tensor) else std
    shape = size or torch.broadcast_shapes(*(t.shape for t in (mean, std) if isinstance(t, Tensor)))
    drawn = mode.normal(shape, like.dtype if isinstance(like, Tensor) else dtype or torch.get_default_dtype())
    return None if drawn is None else mean + std * drawn


def _between(u: Tensor, low: float = 0.0, high: float = 1.0, **named: float) -> Tensor:
    low, high = named.get("from", low), named.get("to", high)
    return low + (high - low) * u


def _bernoulli(mode: CounterRandom, probs: Tensor, p: float | None = None) -> Tensor | None:
    drawn = mode.uniform(probs.shape, probs.dtype if probs.is_floating_point() else torch.get_default_dtype())
    return None if drawn is None else (drawn < (probs if p is None else p)).to(probs.dtype)


def _multinomial(mode: CounterRandom, probs: Tensor, num_samples: int, replacement: bool = False) -> Tensor | None:
    rows = mode.num_samples * len(mode.keys)
    if num_samples != 1 or probs.dim() != 2 or len(probs) % rows:  # rows (K, B, ...) side by side
        return None
    drawn = mode.uniform((rows, len(probs) // rows), probs.dtype)
    assert drawn is not None
    above = drawn.reshape(-1, 1) * probs.sum(-1, keepdim=True) >= probs.cumsum(-1)
    return above.sum(-1, keepdim=True).clamp(max=probs.shape[-1] - 1)


def _gamma(mode: CounterRandom, concentration: Tensor) -> Tensor | None:
    drawn = mode.log_gamma(concentration)
    return None if drawn is None else drawn.exp().clamp(min=torch.finfo(drawn.dtype).tiny)


def _dirichlet(mode: CounterRandom, concentration: Tensor) -> Tensor | None:
    drawn = mode.log_gamma(concentration)
    if drawn is None:
        return None
    limits = torch.finfo(drawn.dtype)  # as torch's own: never on the edge, where a density can be infinite
    return drawn.softmax(-1).clamp(limits.tiny, 1 - limits.eps / 2)


DRAWS: dict[Any, Callable[..., Tensor | None]] = {
    torch.rand: partial(_sized, UNIFORM),
    torch.randn: partial(_sized, NORMAL),
    torch.rand_like: partial(_like, UNIFORM),
    torch.randn_like: partial(_like, NORMAL),
    torch.normal: _normal,
    torch.bernoulli: _bernoulli,
    Tensor.bernoulli: _bernoulli,
    torch.multinomial: _multinomial,
    Tensor.multinomial: _multinomial,
    DRAWS_GAMMA: _gamma,
    DRAWS_DIRICHLET: _dirichlet,
    Tensor.uniform_: partial(_filled, UNIFORM, _between),
    Tensor.exponential_: partial(_filled, UNIFORM, lambda u, lambd=1.0: -u.log() / lambd),
    Tensor.normal_: partial(_filled, NORMAL, lambda z, mean=0.0, std=1.0: mean + std * z),
    Tensor.cauchy_: partial(
        _filled, UNIFORM, lambda u, median=0.0, sigma=1.0: median + sigma * (math.pi * (u - 0.5)).tan()
    ),
}
