"""What a pair runs in: a random stream of its own, evaluation or training mode, no validation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import pyro
import torch
from torch import nn

from .modules import Callee, is_bound, modules_of

T = TypeVar("T")


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """A random stream of its own that starts at seed, the global one left as it was; None keeps to the global one."""
    # A GPU that nothing has been put on yet has no stream to keep, and to ask for it would start it.
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices, enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
            if devices:
                torch.cuda.manual_seed_all(seed)
        yield


@contextmanager
def evaluating(model: Callee, guide: Callee) -> Iterator[None]:
    """Evaluation mode, no gradients, and a param store of its own; everything is as before afterwards."""
    modules = modules_of(model, guide)
    was_training = [m for module in modules.values() for m in module.modules() if m.training]
    # Methods of modules hold their parameters themselves; in the caller's store another model's parameters may stand
    # under the same names. Plain functions look theirs up in the caller's store.
    store = pyro.get_param_store()
    scope = store.scope() if is_bound(model, guide) else store.scope(store.get_state())
    token = _KEPT.set({})
    try:
        for m in was_training:
            m.training = False
        with torch.no_grad(), scope:
            yield
    finally:
        _KEPT.reset(token)
        for m in was_training:
            m.training = True


# What modules keep during an evaluation; None outside of one.
_KEPT: ContextVar[dict[Any, Any] | None] = ContextVar("kept", default=None)


def once_in_evaluation(module: nn.Module, make: Callable[[], T]) -> T:
    """What ``make`` gives from the module's parameters alone, without gradients and once in an evaluation.

    In `evaluating` parameters stay as they are; elsewhere it is made at each call.
    """
    kept = _KEPT.get()
    if kept is None or module.training:
        return make()
    key = module, pyro.settings.get("validate_distributions_torch")
    if key not in kept:
        with torch.no_grad():
            kept[key] = make()
    found: T = kept[key]
    return found


@contextmanager
def train_mode(modules: dict[str, nn.Module]) -> Iterator[None]:
    """Training mode; each module's own mode is as before afterwards."""
    before = {m: m.training for module in modules.values() for m in module.modules()}
    for module in modules.values():
        module.train()
    try:
        yield
    finally:
        for m, training in before.items():
            m.training = training


@contextmanager
def unvalidated() -> Iterator[None]:
    """Distributions let every value and parameter pass; as before afterwards, Pyro's switches and torch's own."""
    validated = torch.distributions.Distribution._validate_args
    try:
        with pyro.validation_enabled(False):
            yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(validated)
