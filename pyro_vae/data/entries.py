"""What belongs to each data point beside x: labels, covariates, lengths; and which of it a pair is called with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..arguments.nearest import did_you_mean
from ..arguments.rows import Home
from ..arguments.tensors import tensor_or_rows

Calls = Mapping[str, str] | tuple[str, ...]  # names of arrays by argument, or in the order of the arguments


def as_entry(name: str, x: Any, *, finite: bool = True) -> Tensor:
    """An array as a tensor: floating-point numbers as float32, whole ones as int64, truth values as they are."""
    try:
        found = tensor_or_rows(name, x, Home(torch.float32))
    except TypeError as error:
        raise ValueError(f"{error}") from error
    values = found if isinstance(found, Tensor) else found[:]
    if values.is_floating_point():
        values = values.float()
        if finite and not values.isfinite().all():
            raise ValueError(f"Expected finite values in {name}; got NaN or infinite ones. Repair or drop those items.")
    return values if values.dtype in (torch.bool, torch.float32) else values.long()


def separated(splits: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]], Calls | None]:
    """x, the other entries, and how a pair is called, of splits that are x alone, or a tuple or dict with x first."""
    first = splits["train"]
    if not isinstance(first, tuple | list | Mapping):
        return dict(splits), {}, None
    by_name = {
        part: dict(x) if isinstance(x, Mapping) else {_place(i): entry for i, entry in enumerate(x)}
        for part, x in splits.items()
    }
    names = list(by_name["train"])
    if not names or any(list(entries) != names for entries in by_name.values()):
        described = "; ".join(f"{part}: {', '.join(entries) or 'none'}" for part, entries in by_name.items())
        raise ValueError(f"Expected the same entries in all three splits, x first; got {described}.")
    x, *others = names
    inputs: Calls = {name: name for name in names} if isinstance(first, Mapping) else tuple(names)
    values = {part: entries[x] for part, entries in by_name.items()}
    return values, {name: {part: by_name[part][name] for part in by_name} for name in others}, inputs


def _place(i: int) -> str:
    return f"input_{i}" if i else "images"


def check_calls(inputs: Calls, known: list[str], main: str) -> None:
    """Raise a ValueError unless all named arrays are there, x among them."""
    named = list(inputs.values()) if isinstance(inputs, Mapping) else list(inputs)
    for name in named:
        if name not in known:
            raise ValueError(f"Expected inputs out of {', '.join(known)}; got {name!r}.{did_you_mean(name, known)}")
    if named.count(main) != 1:
        raise ValueError(f"Expected {main} once among the inputs, for x; got {', '.join(named) or 'none'}.")


def describe_calls(inputs: Calls) -> str:
    """How a pair is called, in words.

    Example:
        >>> describe_calls({"x": "images", "y": "labels"}), describe_calls(("images", "labels"))
        ('inputs x=images, y=labels', 'inputs images, labels')
    """
    named = [f"{key}={name}" for key, name in inputs.items()] if isinstance(inputs, Mapping) else list(inputs)
    return f"inputs {', '.join(named)}"


def place_of(name: str, inputs: Calls) -> str | int:
    """The argument of a pair that an array is: its name, or its number."""
    keys: list[tuple[Any, str]] = list(inputs.items()) if isinstance(inputs, Mapping) else list(enumerate(inputs))
    return next(key for key, array in keys if array == name)


def with_x_changed(transform: Callable[[Tensor], Tensor], place: Any, *args: Any, **kwargs: Any) -> Any:
    """All that a pair is called with, x at its place changed by a transform."""
    if kwargs:
        return kwargs | {place: transform(kwargs[place])}
    return tuple(transform(x) if i == place else x for i, x in enumerate(args))
