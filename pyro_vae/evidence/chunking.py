"""How many data points and samples fit into a given number of bytes."""

from __future__ import annotations

import re
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from .torch_calls_private import TorchDispatchMode, tree_iter

UNITS = {"": 1, "B": 1, **{f"{prefix}B": 1000**i for i, prefix in enumerate("kMGT", 1)}}
UNITS |= {f"{prefix}iB": 1024**i for i, prefix in enumerate("KMGT", 1)}
USABLE = 0.6  # of the budget for tensors that are seen; kernels' own workspace and the allocator's gaps need the rest


def parse_bytes(size: str | int) -> int:
    """Bytes in a size such as "1GiB", "500 MB" or 2**30.

    Raises:
        ValueError: not a size.

    Example:
        >>> parse_bytes("1.5GiB")
        1610612736
    """
    if isinstance(size, int) and not isinstance(size, bool) and size > 0:
        return size
    found = re.fullmatch(r"([\d_]*\.?\d+)\s*([kKMGT]?i?B?)", size.strip()) if isinstance(size, str) else None
    if found is None or found[2] not in UNITS or float(found[1]) <= 0:
        raise ValueError(f"Expected a size in bytes, such as '1GiB', '500MB' or 2**30; got {size!r}.")
    return int(float(found[1]) * UNITS[found[2]])


def peak_bytes(call: Callable[[], Any]) -> int:
    """The most bytes in tensors at once that a call makes, as far as they pass through torch's dispatcher."""
    with _TensorBytes() as bytes_held:
        call()
    return bytes_held.peak


class _TensorBytes(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.held: Counter[int] = Counter()  # tensors by storage
        self.now = self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage().data_ptr() for t in tree_iter((args, kwargs)) if isinstance(t, Tensor)}
        out = func(*args, **(kwargs or {}))
        for tensor in (t for t in tree_iter(out) if isinstance(t, Tensor)):
            storage = tensor.untyped_storage()
            address, size = storage.data_ptr(), storage.nbytes()
            if self.held[address] == 0 and address in given:
                continue  # a view of a tensor that was there before
            if self.held[address] == 0:
                self.now += size
                self.peak = max(self.peak, self.now)
            self.held[address] += 1
            weakref.finalize(tensor, self._release, address, size)
        return out

    def _release(self, address: int, size: int) -> None:
        self.held[address] -= 1
        if self.held[address] == 0:
            self.now -= size


def chunk(num_points: int, num_samples: int, *, pairs: int) -> tuple[int, int]:
    """Data points and samples of a chunk with at most so many (data point, sample) pairs."""
    points = min(num_points, max(1, pairs // min(num_samples, 256)))  # 256 samples share one pass of the encoder
    most = min(num_samples, max(1, pairs // points))
    return points, next((n for n in range(most, most // 2, -1) if num_samples % n == 0), most)  # no odd last one


def chunks_within(
    budget: int,
    peak: Callable[[int], int],
    tried: int,
    num_points: int,
    counts: Sequence[int],
    most: int | None,
) -> list[tuple[int, int]]:
    """As `chunk_within`, for several numbers of samples, given the bytes that a chunk of so many samples takes."""
    largest, room = peak(12), budget * USABLE * tried
    if most is not None and most * largest / 8 <= room:
        free = [chunk(num_points, count, pairs=most) for count in counts]
        # No data point takes more than the largest chunk, no pair more than an eighth: then nothing else need be tried.
        if all(points * largest * (1 + samples / 8) <= room for points, samples in free):
            return free
    peaks = [peak(1), peak(4), largest]
    return [chunk_within(budget, peaks, tried, num_points, count, most) for count in counts]


def chunk_within(
    budget: int, peaks: list[int], tried: int, num_points: int, num_samples: int, most: int | None
) -> tuple[int, int]:
    """Data points and samples of a chunk that stays within a budget of bytes.

    Args:
        budget: bytes.
        peaks: bytes that chunks of 1, 4 and 12 samples took.
        tried: points in each of them.
        num_points: how many there are.
        num_samples: how many each needs.
        most: largest number of (data point, sample) pairs, for speed; None for none.

    Raises:
        ValueError: one data point and sample is more than the budget.
    """
    per_pair = max((peaks[2] - peaks[1]) / (8 * tried), 1.0)
    # What a data point takes by itself (its encoding) and what the pair takes once (a prior's components) look alike
    # here: counting both for each data point errs on the safe side.
    per_point = max(peaks[0] / tried - per_pair, 0.0)
    available = budget * USABLE
    if per_point + per_pair > available:
        raise ValueError(
            f"Expected a memory budget of at least {(per_point + per_pair) / USABLE / 1e6:,.1f} MB, for one "
            f"data point and sample; got {budget / 1e6:,.1f} MB."
        )
    pairs = int(available / per_pair)
    points, samples = chunk(num_points, num_samples, pairs=pairs if most is None else min(pairs, most))
    while points * (per_point + samples * per_pair) > available:
        points, samples = (points // 2, samples) if points > 1 else (1, max(1, samples // 2))
        if points == samples == 1:
            break
    return points, samples
