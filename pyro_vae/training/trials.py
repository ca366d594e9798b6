"""Running a pair to see what it does, without a trace of it afterwards."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyro
import torch
from pyro import poutine

from ..pairs.batch import Points
from ..pairs.contexts import seeded
from ..pairs.modules import Callee, modules_of
from ..pairs.state import get_state, set_state


def run_pair(model: Callee, guide: Callee, batch: Points) -> tuple[poutine.Trace, poutine.Trace]:
    """Traces of the model, on the guide's draws, and of the guide."""
    guide_trace = poutine.trace(guide).get_trace(batch)
    return poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(batch), guide_trace


@contextmanager
def trying(model: Callee, guide: Callee) -> Iterator[None]:
    """The present modes of the pair, no gradients; modules, param store and random stream are as before afterwards."""
    modules, store = modules_of(model, guide), pyro.get_param_store()
    state = get_state(modules, store)
    try:
        with seeded(0), torch.no_grad(), store.scope(store.get_state()):
            yield
    finally:
        set_state(modules, store, state)
