"""Which data points the plates of a pair visit."""

from __future__ import annotations

import functools
from typing import Any

from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from .modules import Callee


def with_own_indices(function: Callee) -> Callee:
    """A model or a guide whose plates keep what they are told to visit, or all there is, when it is replayed.

    Replay hands the guide's indices on to the model, as it must where they are drawn. But ``as batch`` of a model's
    ``pyro.plate("data", N, subsample=x)`` is x, and would be 0, 1, 2, ... beside a guide's ``pyro.plate("data",
    len(x))``.
    """

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        with _OwnIndices():
            return function(*args, **kwargs)

    return called


class _OwnIndices(Messenger):
    """Hides plates' indices from the handlers outside, but for those that are drawn."""

    def _pyro_sample(self, msg: Any) -> None:
        if site_is_subsample(msg):
            size, part = msg["fn"].size, msg["fn"].subsample_size
            msg["stop"] = msg["value"] is not None or part is None or part >= size
