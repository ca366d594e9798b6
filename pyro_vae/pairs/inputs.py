"""Data in the forms that people have them: tensors and arrays, alone or several; data sets and loaders of torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, RandomSampler, TensorDataset, default_collate

from ..arguments.memory import require_memory
from ..arguments.rows import Home, Rows
from ..arguments.tensors import is_array, tensor_or_rows
from .batch import Batch, Points, joined, map_points
from .contexts import seeded
from .modules import Callee, modules_of

Inputs = Any  # a tensor or array, a tuple or dict of these, a data set, a loader: what `as_points` takes
READ_AT_ONCE = 1024  # data points
NONE = "None"  # what an entry is called that is None in a batch


class Samples:
    """A data set that gives one data point for a number (``dataset[i]``), as batches: ``samples[indices]``.

    Data points are put together as torch's loaders do it (`default_collate`): numbers and arrays to tensors, tuples
    and dicts to tuples and dicts of these. ``__getitems__`` is used where the data set has it.
    """

    def __init__(self, name: str, dataset: Any, home: Home) -> None:
        self.name, self.dataset, self.home = name, dataset, home
        self.device = home.device
        if len(dataset) == 0:
            raise ValueError(f"Expected {name} to hold at least one data point; got an empty data set.")

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, rows: Tensor | slice) -> Points:
        """The data points with these indices (B,)."""
        wanted = list(range(len(self))[rows]) if isinstance(rows, slice) else rows.tolist()
        many = getattr(self.dataset, "__getitems__", None)
        found = many(wanted) if many is not None else [self.dataset[i] for i in wanted]
        try:
            collated = default_collate(found)
        except (RuntimeError, TypeError) as error:
            reason = str(error).splitlines()[0]
            raise ValueError(
                f"Expected data points of {self.name} that can be put together; got an error: {reason}. Give tensors, "
                f"arrays or numbers of one shape; pad sequences to one length, and give their lengths beside them."
            ) from error
        return batch_of(self.name, collated, self.home)


class Loader:
    """Batches as they come from what can be iterated again for each epoch, such as a `DataLoader`.

    The first batch is read at once, to see what they are like; the first pass goes on from there.

    Attributes:
        first: that batch.
        num_batches: in a pass, where that is known.
    """

    def __init__(self, name: str, batches: Any, home: Home) -> None:
        self.name, self.batches, self.home = name, batches, home
        self.device = home.device
        started = iter(batches)
        if started is batches:
            raise TypeError(
                f"Expected {name} to be iterated anew in each epoch; got {type(batches).__name__}, which one "
                f"pass uses up. Give a DataLoader, or an object whose __iter__ starts again."
            )
        nothing = object()
        if (first := next(started, nothing)) is nothing:
            cure = " With drop_last=True it leaves out a batch that is not full: give a smaller batch_size."
            dropped = isinstance(batches, DataLoader) and batches.drop_last
            raise ValueError(f"Expected {name} to give at least one batch; got none.{cure if dropped else ''}")
        self.first = batch_of(name, first, home)
        self._started: Iterator[Any] | None = started
        try:
            self.num_batches: int | None = len(batches)
        except TypeError:  # a stream of unknown length
            self.num_batches = None

    def __iter__(self) -> Iterator[Points]:
        """One pass, of batches that are like the first in their entries, types, and shapes of a data point."""
        started, self._started = self._started, None
        count, left = 0, iter(self.batches) if started is None else started
        wanted = described_entries(self.first)
        if started is not None:
            count = 1
            yield self.first
        for batch in left:
            count += 1
            points = batch_of(self.name, batch, self.home)
            got = described_entries(points)
            if wanted.keys() != got.keys() or any(
                NONE not in (kind, got[name]) and kind != got[name] for name, kind in wanted.items()
            ):
                raise ValueError(
                    f"Expected all batches of {self.name} alike, {_in_words(wanted)}; got {_in_words(got)} in batch "
                    f"{count}. Give the same entries in each, of one type and shape, or None; pad sequences to one "
                    f"length."
                )
            wanted = {name: kind if kind != NONE else got[name] for name, kind in wanted.items()}
            yield points
        if not count:
            raise ValueError(
                f"Expected {self.name} to give batches in every pass; got none after the first. Give a DataLoader, or "
                f"an object whose __iter__ starts again."
            )


def alike(points: Points) -> str:
    """What all batches of a loader share, in words."""
    return _in_words(described_entries(points))


def described_entries(points: Points) -> dict[str, str]:
    """Type and shape of a data point of each entry, by its name: what is the same in all batches of a kind."""
    described = {}
    for name, entry in points.named() if isinstance(points, Batch) else [("", points)]:
        if entry is None:
            described[name] = NONE
        else:
            shape = ", ".join(["B", *map(str, entry.shape[1:])])
            described[name] = f"{str(entry.dtype).removeprefix('torch.')} ({shape})"
    return described


def absent(points: Points) -> set[str]:
    """The names of the entries that are None."""
    return {name for name, kind in described_entries(points).items() if kind == NONE}


def _in_words(entries: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {kind}".strip() for name, kind in entries.items())


def home_of(*pair: Callee) -> Home:
    """What arrays become for a pair: the dtype of its modules' floating-point parameters, on their device.

    The dtype is torch's default where there are no such parameters, and the arrays' own where they have several.
    """
    modules = modules_of(pair[0], pair[-1]).values() if pair else []
    parameters = [p for module in modules for p in module.parameters()]
    dtypes = {p.dtype for p in parameters if p.dtype.is_floating_point} or {torch.get_default_dtype()}
    devices = {p.device for p in parameters} or {torch.device("cpu")}
    return Home(dtypes.pop() if len(dtypes) == 1 else None, devices.pop() if len(devices) == 1 else torch.device("cpu"))


def arrays_of(name: str, inputs: Any, home: Home) -> Any:
    """A tensor or array as a tensor, a tuple or dict of them as a `Batch`; `Rows` for what is on disk or sparse.

    Raises:
        TypeError: it is something else, or holds no real numbers.
        ValueError: no data points, or entries of different lengths or devices.
    """
    if isinstance(inputs, Mapping):
        batch = Batch((), {str(key): entry for key, entry in inputs.items()})
    elif isinstance(inputs, list | tuple) and any(map(_is_entry, inputs)):
        batch = Batch(inputs)
    elif isinstance(inputs, Batch):
        batch = inputs
    else:
        return tensor_or_rows(name, inputs, home)
    if not any(entry is not None for _, entry in batch.named()):
        raise ValueError(f"Expected {name} to hold at least one tensor; got none.")

    def read(key: str, entry: Any) -> Any:
        return tensor_or_rows(f"{name}{key}" if key.startswith("[") else f"{name}[{key!r}]", entry, home)

    batch = batch.replaced(read)
    if len({len(tensor) for tensor in batch.tensors}) > 1:
        lengths = ", ".join(f"{key}: {len(entry):,}" for key, entry in batch.named() if entry is not None)
        raise ValueError(f"Expected tensors of {name} with the same number of data points; got {lengths}.")
    if len({tensor.device for tensor in batch.tensors}) > 1:
        raise ValueError(f"Expected tensors of {name} on one device; got several. Move them with .to(device).")
    return batch.args[0] if len(batch.args) == 1 and not batch.kwargs else batch


def _is_entry(entry: Any) -> bool:
    """Whether this is an array, or has rows, as a column of a data set, so that it stands for one entry of a batch."""
    rows = hasattr(entry, "__getitem__") and hasattr(entry, "__len__")
    return is_array(entry) or (rows and not isinstance(entry, list | tuple | str | bytes))


def batch_of(name: str, inputs: Any, home: Home) -> Points:
    """A batch that a loader or data set gives; its float64, which NumPy and Python's numbers bring, is an array's."""
    points = arrays_of(name, inputs, home)
    return map_points(points, lambda t: home.taking(t) if t.dtype is torch.float64 else t)


def as_given(name: str, inputs: Any, home: Home) -> Any:
    """Data as they are given, read no further than needed: tensors, `Batch`, `Rows`, `Samples` or a `Loader`. Refuses
    what `as_points` does."""
    if isinstance(inputs, TensorDataset):
        return arrays_of(name, inputs.tensors, home)
    if isinstance(inputs, IterableDataset):
        raise TypeError(
            f"Expected {name} to give batches; got {type(inputs).__name__}, which gives data points one by one. Give "
            f"DataLoader({name}, batch_size=...), or, where it gives batches already, batch_size=None."
        )
    if isinstance(inputs, Mapping) and any(
        isinstance(entry, Dataset) or hasattr(entry, "__getitems__") for entry in inputs.values()
    ):
        raise TypeError(
            f"Expected {name} to be one data set; got several, {list(inputs)}. Give one of them, {name}[...], and "
            f"another for validation."
        )
    if hasattr(inputs, "with_format") and hasattr(inputs, "format") and inputs.format["type"] is None:
        inputs = inputs.with_format("torch")  # of Hugging Face, which gives Python's numbers else
    if isinstance(inputs, Batch | Mapping | str | bytes | list | tuple | set | range) or is_array(inputs):
        return arrays_of(name, inputs, home)
    if not hasattr(inputs, "splits") and hasattr(inputs, "__len__") and hasattr(inputs, "__getitem__"):
        return Samples(name, inputs, home)
    if not hasattr(inputs, "splits") and hasattr(inputs, "__iter__"):
        return Loader(name, inputs, home)
    return arrays_of(name, inputs, home)


def as_points(name: str, inputs: Inputs, *pair: Callee) -> Any:
    """Data points in memory: one tensor (N, ...), or a `Batch` of several.

    - A torch tensor stays as it is. Arrays (NumPy, memory maps, SciPy's sparse ones, data frames and series, annotated
      data by their matrix ``X``) become tensors beside the pair's parameters; of their floating-point numbers, whatever
      their precision, the pair's own dtype is made. Whole numbers and truth values stay what they are: counts,
      grey levels of 8 bits; one for each data point, a label, becomes int64, which torch looks up.
    - A tuple of them stands for a call by position, a dict for one by keyword.
    - A torch data set or a loader is read as a whole, in its order, to the device of the pair's parameters.

    Args:
        name: what messages call the data.
        inputs: the data.
        pair: model and guide that will be called with them.

    Raises:
        TypeError: it is something else, an array of no real numbers, or a loader that shuffles.
        ValueError: no data points, entries of different lengths, batches that differ in kind, more than fills a
            quarter of the memory, or numbers too large for the dtype.

    Example:
        >>> as_points("x", (torch.zeros(5, 2), torch.arange(4)))
        Traceback (most recent call last):
        ...
        ValueError: Expected tensors of x with the same number of data points; got [0]: 5, [1]: 4.
    """
    with seeded(0):  # loaders draw from the global stream
        return _in_memory(name, as_given(name, inputs, home_of(*pair)))


def _in_memory(name: str, given: Any) -> Any:
    if isinstance(given, Samples):
        pieces = torch.arange(len(given)).split(READ_AT_ONCE)
        return joined([given[some] for some in pieces]).to(given.device)
    if isinstance(given, Loader):
        if isinstance(given.batches, DataLoader) and isinstance(given.batches.sampler, RandomSampler):
            raise TypeError(
                f"Expected {name} in an order that stays; got a loader that shuffles. Give DataLoader(..., "
                f"shuffle=False), or its data set."
            )
        batches = list(given)
        for batch in batches:
            if mixed := sorted(absent(batch) ^ absent(batches[0])):
                raise ValueError(
                    f"Expected {name} to have the same entries in all batches, for one call; got {mixed[0]} as None in "
                    f"some alone. Give data with it and data without it apart."
                )
        return joined(batches).to(given.device)
    on_disk = [entry for entry in (given.tensors if isinstance(given, Batch) else [given]) if isinstance(entry, Rows)]
    require_memory(sum(entry.shape.numel() for entry in on_disk), name)
    return map_points(given, lambda entry: entry[:] if isinstance(entry, Rows) else entry)
