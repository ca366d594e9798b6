"""What a pair runs in: one thread, a random stream of its own, evaluation or training mode, no validation."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import pyro
import torch
from torch import nn

from .modules import Callee, is_bound, modules_of
from .state import loose

_IN_USE = threading.RLock()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Refuse a second thread: handlers, parameters and random numbers belong to the process, so that each thread would
    change the numbers of the other."""
    if not _IN_USE.acquire(blocking=False):
        raise RuntimeError(
            "Expected one thread at a time; another thread of this process is training or evaluating a pair, and Pyro "
            "keeps handlers and parameters for all threads together. Use processes, or a lock around the calls."
        )
    try:
        yield
    finally:
        _IN_USE.release()


T = TypeVar("T")


@contextmanager
def seeded(seed: int | None) -> Iterator[None]:
    """A random stream of its own that starts at seed, the global one left as it was; None keeps to the global one.

    Raises:
        RuntimeError: another thread is in `seeded` or `evaluating`.
    """
    # A GPU that nothing has been put on yet has no stream to keep, and to ask for it would start it.
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with _one_thread(), torch.random.fork_rng(devices, enabled=seed is not None):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
            if devices:
                torch.cuda.manual_seed_all(seed)
        yield


@contextmanager
def evaluating(model: Callee, guide: Callee, *, initial: bool = False) -> Iterator[None]:
    """Evaluation mode, no gradients, and a param store of its own; everything is as before afterwards.

    Modules that `modules_of` does not find (in a closure's helper, say) are put into evaluation mode when they are
    called.

    Warns:
        UserWarning: parameters that are not in the param store yet took their initial values; not with ``initial``.

    Raises:
        RuntimeError: another thread is in `seeded` or `evaluating`.
    """
    known = {m for module in modules_of(model, guide).values() for m in module.modules()}
    was_training = [m for m in known if m.training]

    def evaluate(called: nn.Module, _: Any) -> None:
        if called.training and called not in known:
            hidden = [m for m in called.modules() if m.training]
            was_training.extend(hidden)
            for m in hidden:
                m.training = False

    store = pyro.get_param_store()
    state = store.get_state()
    # Modules hold their parameters themselves: in the store another model's may stand under the same names.
    params = dict(loose(state["params"]) if is_bound(model, guide) else state["params"])
    visible = {"params": params, "constraints": {name: state["constraints"][name] for name in params}}
    with _one_thread():
        token = _KEPT.set({})
        hook = nn.modules.module.register_module_forward_pre_hook(evaluate)
        try:
            for m in was_training:
                m.training = False
            with torch.no_grad(), store.scope(visible):
                before = set(store.keys())
                yield
                fresh = sorted(set(loose(store.get_state()["params"])) - before)
        finally:
            hook.remove()
            _KEPT.reset(token)
            for m in was_training:
                m.training = True
    if fresh and not initial:
        warnings.warn(
            f"The parameters {fresh} were not in the param store and took their initial values. To evaluate what fit "
            f"has trained, give its result.model and result.guide.",
            stacklevel=4,
        )


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
    return kept[key]


@contextmanager
def train_mode(modules: dict[str, nn.Module]) -> Iterator[None]:
    """Training mode; each module's own mode is as before afterwards.

    A part in evaluation mode inside a module in training mode is frozen, and stays in it: a pretrained encoder or
    batch norm after ``encoder.eval()``. Where no module of the pair is in training mode, as after ``pair.eval()`` or
    loading for evaluation, the pair is trained as a whole.
    """
    before = {m: m.training for module in modules.values() for m in module.modules()}
    frozen = [child for m in before if m.training for child in m.children() if not child.training]
    if any(module.training for module in modules.values()):  # the pair is the parent of its modules
        frozen += [module for module in modules.values() if not module.training]
    try:
        for module in modules.values():
            if not module.training:
                module.train()
        for m in (part for module in frozen for part in module.modules()):
            m.training = before[m]
        yield
    finally:
        for m, training in before.items():
            m.training = training


@contextmanager
def unvalidated() -> Iterator[None]:
    """Distributions let every value and parameter pass; as before afterwards, Pyro's switches and torch's own."""
    validated = pyro.settings.get("validate_distributions_torch")
    try:
        with pyro.validation_enabled(False):
            yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(validated)
