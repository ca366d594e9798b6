"""Scales of a pair that plates and handlers bring."""

from __future__ import annotations

import functools
import math
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger

from .modules import Callee
from .sites import counts, sample_sites


def whole_of_part(site: Any) -> float:
    """How many times as large the plates inside that of the data are as the part of them that is visited."""
    inner = [frame for frame in site["cond_indep_stack"] if frame.dim != -1 and frame.full_size is not None]
    return math.prod(frame.full_size / frame.size for frame in inner)


def for_the_batch(model: Callee, guide: Callee) -> tuple[Callee, Callee]:
    """The pair, its plate over the data of the size of the batch: a total size stated there scales nothing.

    ``pyro.plate("data", N, subsample=x)`` makes the loss of a batch one of all N data points.
    """
    return _ForTheBatch.around(model), _ForTheBatch.around(guide)


class _ForTheBatch(Messenger):
    @classmethod
    def around(cls, function: Callee) -> Callee:
        @functools.wraps(function)
        def unscaled(*args: Any, **kwargs: Any) -> Any:
            with cls():
                return function(*args, **kwargs)

        return unscaled

    def _pyro_sample(self, msg: Any) -> None:
        if counts(msg):
            for frame in msg["cond_indep_stack"]:
                if frame.dim == -1 and frame.full_size not in (None, frame.size):
                    msg["scale"] = msg["scale"] * frame.size / frame.full_size


def check_scales(*traces: poutine.Trace) -> None:
    """Raise a ValueError where all sites have one scale, so that a loss would not be in nats per data point."""
    sites = [site for trace in traces for _, site in sample_sites(trace)]
    scales = torch.cat([torch.as_tensor(site["scale"]).flatten().cpu() / whole_of_part(site) for site in sites])
    scale = scales[0].item()
    if torch.allclose(scales, scales[0]) and not math.isclose(scale, 1, rel_tol=1e-6):
        raise ValueError(
            f"Expected a pair without a scale, so that its loss is in nats per data point; got all its sites scaled by "
            f"{scale:.4g}. Remove poutine.scale, and choose the size of the steps by the learning rate."
        )


def check_whole(model_trace: poutine.Trace) -> None:
    """Raise a ValueError where a plate inside that of the data visits a part of it."""
    for name, site in sample_sites(model_trace):
        if whole_of_part(site) != 1:
            raise ValueError(
                f"Expected all of the plates around site {name!r}; got a part of one, whose log p(x) is not that of "
                f"the whole. Leave out subsample and subsample_size where log p(x) is estimated."
            )
