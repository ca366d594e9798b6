"""What makes two calls of a function alike, so that one recorded graph serves both."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from ..pairs.batch import Batch
from .graph import kind


def describe(value: Any, tensors: list[Tensor], others: list[Any] | None = None) -> Any:
    """What makes two calls alike: the kinds of tensors, and all else by value. Collects the tensors, and all else."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return kind(value)
    if type(value) in (list, tuple) or _is_named(value):
        return (type(value), *(describe(item, tensors, others) for item in value))
    if isinstance(value, Batch):
        return (Batch, describe(value.args, tensors, others), describe(value.kwargs, tensors, others))
    if type(value) is dict:
        return (dict, *((key, describe(item, tensors, others)) for key, item in value.items()))
    if others is not None:
        others.append(value)
    return type(value), value  # True, 1 and 1.0 are equal


def replaced(value: Any, make: Callable[[Any], Any], leaf: type = Tensor) -> Any:
    """The same tuples, lists and dicts, with what ``make`` makes of each leaf, in the order of `describe`."""
    if isinstance(value, leaf):
        return make(value)
    if _is_named(value):
        return type(value)(*(replaced(item, make, leaf) for item in value))
    if type(value) in (list, tuple):
        return type(value)([replaced(item, make, leaf) for item in value])
    if isinstance(value, Batch):
        return Batch(replaced(value.args, make, leaf), replaced(value.kwargs, make, leaf))
    if type(value) is dict:
        return {key: replaced(item, make, leaf) for key, item in value.items()}
    return value


def _is_named(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def alias(tensor: Tensor) -> Tensor:
    """A new object in the same memory, to tell an argument from the same tensor held elsewhere; without a history."""
    return tensor.detach().requires_grad_(tensor.requires_grad)


def surroundings() -> tuple:
    """What else decides which operations a call runs."""
    return (
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        pyro.settings.get("validate_distributions_torch"),
        *(torch.is_autocast_enabled(on) and torch.get_autocast_dtype(on) for on in ("cpu", "cuda")),
    )


@contextmanager
def noting_calls(modules: dict[nn.Module, None]) -> Iterator[None]:
    """Note which modules are called, also those that nobody named."""
    hook = nn.modules.module.register_module_forward_pre_hook(lambda module, _: modules.setdefault(module))
    try:
        yield
    finally:
        hook.remove()
