"""How an epoch visits the data: on the device where they fit, else as batches that are brought there one by one."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice, pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..arguments.rows import Rows
from ..pairs.batch import Batch, Points, map_points, tensors_of
from ..pairs.inputs import Loader, Samples
from ..pairs.modules import Callee
from .batches import batch_sizes, choosing, transforming

SHARE = 0.5  # of a GPU's free memory that data may take
AHEAD = 2  # batches that are read while the one before is trained on

T = TypeVar("T")
R = TypeVar("R")


class OnDevice:
    """Data on the device; a step takes indices (B,), and chooses their rows itself.

    Attributes:
        batch_of: what the pair is called with, for what a step takes.
        full_batch: data points in a batch, but for a smaller last one.
        steps_per_epoch: batches in an epoch; None where that is not known.
        streamed: whether batches come one by one.
    """

    streamed = False

    def __init__(self, data: Points, device: torch.device, batch_transform: Any, batch_size: int) -> None:
        self.data, self.batch_of = data, choosing(data, batch_transform)
        self.full_batch, self.steps_per_epoch = min(batch_size, len(data)), math.ceil(len(data) / batch_size)
        self.indices = torch.arange(len(data), device=device)
        self.sizes: list[int] = []

    def first(self) -> Any:
        """What the first step might take."""
        return self.indices[: self.full_batch]

    def settle(self, model: Callee, guide: Callee) -> None:
        """Find batches that the pair takes; see `batch_sizes`."""
        self.sizes = batch_sizes(model, guide, self.batch_of, self.indices, self.full_batch)

    def each(self) -> Iterator[Points]:
        """All data in batches, in order."""
        return map(self.batch_of, self.indices.split(self.sizes))

    def epoch(self) -> Iterable[Any]:
        """What the steps of an epoch take, in an order drawn anew."""
        return torch.randperm(len(self.data), device=self.indices.device).split(self.sizes)


class ByRows:
    """Data that stay where they are, and are read by rows; a step takes a batch. Else as `OnDevice`.

    The order is that of `OnDevice`. Arrays are read ahead in a thread of their own; data sets, which may draw random
    numbers, in the main one: for those a `DataLoader` has workers.
    """

    streamed = True

    def __init__(self, data: Any, device: torch.device, batch_transform: Any, batch_size: int) -> None:
        self.data, self.device = data, device
        self.batch_of = transforming(batch_transform)
        self.full_batch, self.steps_per_epoch = min(batch_size, len(data)), math.ceil(len(data) / batch_size)
        self.sizes: list[int] = []

    def first(self) -> Points:
        return self._brought(torch.arange(self.full_batch))

    def settle(self, model: Callee, guide: Callee) -> None:
        def batch_of(indices: Tensor) -> Points:
            return self.batch_of(self._brought(indices))

        self.sizes = batch_sizes(model, guide, batch_of, torch.arange(len(self.data)), self.full_batch)

    def epoch(self) -> Iterator[Points]:
        order = torch.randperm(len(self.data), device=self.device).cpu().split(self.sizes)
        read = map(self._read, order) if isinstance(self.data, Samples) else ahead(self._read, order)
        return (moved(batch, self.device) for batch in read)

    def _read(self, indices: Tensor) -> Points:
        return pinned(self.data[indices], self.device)

    def _brought(self, indices: Tensor) -> Points:
        return moved(self._read(indices), self.device)


class AsTheyCome:
    """Batches of a loader; a step takes one. Else as `OnDevice`."""

    streamed = True

    def __init__(self, data: Loader, device: torch.device, batch_transform: Any) -> None:
        self.data, self.device = data, device
        self.batch_of = transforming(batch_transform)
        self.full_batch, self.steps_per_epoch = len(data.first), data.num_batches

    def first(self) -> Points:
        return moved(self.data.first, self.device)

    def settle(self, model: Callee, guide: Callee) -> None:
        """Nothing: the batches are the loader's."""

    def epoch(self) -> Iterator[Points]:
        return (moved(pinned(batch, self.device), self.device) for batch in self.data)


Visits = OnDevice | ByRows | AsTheyCome


def visits(data: Any, device: torch.device, batch_transform: Any, batch_size: int) -> Visits:
    """How the epochs of a training visit data, which move to the device as a whole where they fit there."""
    if isinstance(data, Loader):
        return AsTheyCome(data, device, batch_transform)
    if is_read_by_rows(data, device):
        return ByRows(data, device, batch_transform, batch_size)
    return OnDevice(data.to(device), device, batch_transform, batch_size)


def is_read_by_rows(data: Any, device: torch.device) -> bool:
    """Whether data cannot stand on a device as a whole: on disk, sparse, a data set, or too large for a GPU."""
    if isinstance(data, Samples):
        return True
    entries = data.tensors if isinstance(data, Batch) else [data]
    if any(isinstance(entry, Rows) for entry in entries):
        return True
    if device.type != "cuda" or data.device == device:
        return False
    return sum(entry.nbytes for entry in entries) > SHARE * torch.cuda.mem_get_info(device)[0]


def pieces(data: Any, size: int, device: torch.device) -> Iterator[Points]:
    """All data on the device in their order, so many at once; those of a loader as they come."""
    if isinstance(data, Loader):
        return (moved(batch, device) for batch in data)
    return (moved(data[start : start + size], device) for start in range(0, len(data), size))


def moved(points: Points, device: torch.device) -> Points:
    """Data points on a device; from pinned memory, nobody waits for the copy."""
    return map_points(points, lambda t: t.to(device, non_blocking=t.is_pinned()))


def pinned(points: Points, device: torch.device) -> Points:
    """Data points of the CPU in memory that a GPU copies from by itself."""
    if device.type != "cuda":
        return points
    return map_points(points, lambda t: t if t.is_cuda or t.is_pinned() else t.pin_memory())


def ahead(read: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """What is read for each item, in their order, in a background thread: a few before they are asked for."""
    left = iter(items)
    with ThreadPoolExecutor(1) as reader:
        waiting = deque(reader.submit(read, item) for item in islice(left, AHEAD))
        while waiting:
            found = waiting.popleft().result()
            waiting.extend(reader.submit(read, item) for item in islice(left, 1))
            yield found


def with_last(items: Iterable[T]) -> Iterator[tuple[T, bool]]:
    """Each item, and whether it is the last."""
    end: Any = object()
    return ((item, following is end) for item, following in pairwise(chain(items, [end])))


def example_of(data: Any) -> Any:
    """Data that show the entries, and the shape of a data point."""
    if isinstance(data, Loader):
        return data.first
    return data[:1] if isinstance(data, Samples) else data


def values_of(points: Any) -> list[Tensor]:
    """The tensors that are in memory."""
    entries = tensors_of(points) if isinstance(points, Tensor | Batch) else []
    return [entry for entry in entries if isinstance(entry, Tensor)]


def on_device(modules: Mapping[str, nn.Module], validation: Any, device: torch.device) -> Any:
    """The validation data on the device, if they fit there; so are the modules."""
    for module in modules.values():
        module.to(device)
    is_in_memory = isinstance(validation, Tensor | Batch) and not is_read_by_rows(validation, device)
    return validation.to(device) if is_in_memory else validation
