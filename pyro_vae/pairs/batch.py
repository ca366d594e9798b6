"""What a pair is called with: one tensor of data points, or several that belong together."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from pyro.poutine.runtime import am_i_wrapped
from torch import Tensor, nn

from .scales import with_own_indices


class Batch:
    """Several tensors with the same first dimension, the data points, which a model and a guide are called with.

    It can be cut and moved like a tensor, all entries together: ``len(batch)``, ``batch[indices]``, ``batch.split(n)``,
    ``batch.to(device)``.

    Args:
        args: entries for a call by position; None where a model takes None.
        kwargs: entries for a call by keyword.

    Example:
        >>> batch = Batch((torch.zeros(5, 2), torch.arange(5)))
        >>> len(batch), batch[1:3]
        (5, Batch([0]: (2, 2), [1]: (2,)))
    """

    __slots__ = ("args", "kwargs")

    def __init__(self, args: Sequence[Tensor | None] = (), kwargs: Mapping[str, Tensor | None] | None = None) -> None:
        self.args: tuple[Tensor | None, ...] = tuple(args)
        self.kwargs: dict[str, Tensor | None] = dict(kwargs or {})

    def named(self) -> Iterator[tuple[str, Tensor | None]]:
        """The entries with their names; "[0]", "[1]", ... for those by position."""
        yield from ((f"[{i}]", entry) for i, entry in enumerate(self.args))
        yield from self.kwargs.items()

    @property
    def tensors(self) -> list[Tensor]:
        """The entries that are not None, those by keyword in the order of their names."""
        return [entry for _, entry in sorted(self.named()) if entry is not None]

    def map(self, function: Callable[[Tensor], Tensor]) -> Batch:
        """Each tensor replaced by what a function makes of it."""
        return self.replaced(lambda _, entry: function(entry))

    def replaced(self, function: Callable[[str, Tensor], Tensor]) -> Batch:
        """Each tensor replaced by what a function makes of its name and itself."""
        new = {name: None if entry is None else function(name, entry) for name, entry in self.named()}
        return Batch([new.pop(f"[{i}]") for i in range(len(self.args))], new)

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, rows: Any) -> Batch:
        return self.map(lambda entry: entry[rows])

    @property
    def device(self) -> torch.device:
        """Where all entries are."""
        return self.tensors[0].device

    def to(self, device: torch.device) -> Batch:
        """The entries on another device."""
        return self.map(lambda entry: entry.to(device))

    def cpu(self) -> Batch:
        """The entries on the CPU."""
        return self.map(Tensor.cpu)

    def split(self, size: int | list[int]) -> list[Batch]:
        """Batches of so many data points each."""
        numbers = torch.arange(len(self), device=self.device).split(size)
        return [self[int(some[0]) : int(some[-1]) + 1] for some in numbers if len(some)]

    def __repr__(self) -> str:
        entries = ", ".join(f"{name}: {None if e is None else tuple(e.shape)}" for name, e in self.named())
        return f"Batch({entries})"


Points = Tensor | Batch  # data points along the first dimension


def tensors_of(points: Points) -> list[Tensor]:
    """The tensors of data points: one, or several."""
    return points.tensors if isinstance(points, Batch) else [points]


def map_points(points: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """Each tensor of data points replaced by what a function makes of it."""
    return points.map(function) if isinstance(points, Batch) else function(points)


def replaced(points: Any, function: Callable[[str, Tensor], Tensor]) -> Any:
    """Each tensor of data points replaced by what a function makes of its name, "[0]" of a single one, and itself."""
    return points.replaced(function) if isinstance(points, Batch) else function("[0]", points)


def shapes_of(points: Points) -> Any:
    """The shape of one data point; of several entries, by name."""
    if isinstance(points, Batch):
        return {name: None if entry is None else tuple(entry.shape[1:]) for name, entry in points.named()}
    return tuple(points.shape[1:])


def arguments_of(function: Callable[..., Any], points: Points) -> dict[str, Tensor | None]:
    """What a function is called with, by the names of its arguments; "input 1", ... for those that do not tell."""
    args, kwargs = (points.args, points.kwargs) if isinstance(points, Batch) else ((points,), {})
    try:
        parameters = [*inspect.signature(function).parameters.values()]
    except (TypeError, ValueError):  # of a function that does not tell
        parameters = []
    names = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    names += [f"input {i + 1}" for i in range(len(names), len(args))]
    return dict(zip(names, args, strict=False)) | kwargs


def joined(parts: Sequence[Any]) -> Any:
    """Data points one after the other."""
    if not isinstance(parts[0], Batch):
        return torch.cat(list(parts))
    entries = [dict(part.named()) for part in parts]
    return parts[0].replaced(lambda name, _: torch.cat([part[name] for part in entries]))


def taking(points: Points, *functions: Callable[..., Any]) -> list[Callable[..., Any]]:
    """Model and guide, functions of the entries of a batch, as functions of the batch, their plates
    `with_own_indices`.

    Raises:
        TypeError: a function takes other inputs, or is a module that cannot be called.
        RuntimeError: a handler of Pyro's, or torch's inference mode, stands around the call.
    """
    if am_i_wrapped():
        raise RuntimeError(
            "Expected to be called outside of Pyro's handlers and plates, which would change the numbers of the pair; "
            "got one around the call. Put it around model or guide, such as poutine.condition(model, data=...)."
        )
    if torch.is_inference_mode_enabled():
        raise RuntimeError(
            "Expected to be called outside of torch.inference_mode, in which there are no gradients to train by or to "
            "fit proposals with; got it around the call. Leave it out: where gradients are not needed, none are kept."
        )
    for function in functions:
        check_call(points, function)
    functions = tuple(map(with_own_indices, functions))
    return [_taking(function) for function in functions] if isinstance(points, Batch) else list(functions)


def _taking(function: Callable[..., Any]) -> Callable[[Any], Any]:
    @functools.wraps(function)
    def called(batch: Batch) -> Any:
        return function(*batch.args, **batch.kwargs)

    return called


def check_call(points: Points, function: Callable[..., Any]) -> None:
    """Raise TypeError unless a function takes as many inputs, of these names."""
    args, kwargs = (points.args, points.kwargs) if isinstance(points, Batch) else ((points,), {})
    if isinstance(function, nn.Module) and type(function).forward is nn.Module.forward:
        raise TypeError(
            f"Expected model and guide that can be called with data; got the module {type(function).__name__}, which "
            f"has no forward. Give its methods, such as vae.model and vae.guide."
        )
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of a function that does not tell
        return
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        got = [*(f"{len(args)} by position" for _ in args[:1]), *(f"{key!r}" for key in kwargs)]
        name = getattr(function, "__qualname__", type(function).__name__)
        raise TypeError(
            f"Expected the inputs that {name}{signature} takes; got {', '.join(got)} ({error}). Give one tensor for "
            f"each: (x, y) for a call by position, {{'x': x, 'y': y}} by name."
        ) from None
