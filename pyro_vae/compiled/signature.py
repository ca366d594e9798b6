"""What makes two calls of an objective alike, so that one recorded graph serves both."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn

from .recording import kind


def describe(value: Any, tensors: list[Tensor]) -> Any:
    """What makes two calls alike: the kinds of tensors, and all else by value. Collects the tensors."""
    if isinstance(value, Tensor):
        tensors.append(value)
        return kind(value)
    if type(value) in (list, tuple):
        return (type(value), *(describe(item, tensors) for item in value))
    if type(value) is dict:
        return (dict, *((key, describe(item, tensors)) for key, item in value.items()))
    return type(value), value  # True, 1 and 1.0 are equal


def aliased(value: Any, tensors: list[Tensor]) -> Any:
    """The same arguments with new tensor objects, in the order of `describe`. Collects them."""
    if isinstance(value, Tensor):
        tensors.append(value if value.requires_grad else value.detach())
        return tensors[-1]
    if type(value) in (list, tuple):
        return type(value)([aliased(item, tensors) for item in value])
    if type(value) is dict:
        return {key: aliased(item, tensors) for key, item in value.items()}
    return value


def surroundings(modules: dict[nn.Module, None]) -> tuple:
    """What else decides which operations a call runs."""
    return (
        tuple([module.training for module in modules]),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        *(torch.is_autocast_enabled(on) and torch.get_autocast_dtype(on) for on in ("cpu", "cuda")),
    )


def only_captures_params(handler: Any) -> bool:
    """Whether a handler is one of Pyro's that collect parameters and change nothing."""
    return isinstance(handler, TraceMessenger) and handler.param_only


@contextmanager
def noting_calls(modules: dict[nn.Module, None]) -> Iterator[None]:
    """Note which modules are called: their training flags belong to what a graph is good for."""
    hook = nn.modules.module.register_module_forward_pre_hook(lambda module, _: modules.setdefault(module))
    try:
        yield
    finally:
        hook.remove()
