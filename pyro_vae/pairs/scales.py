"""What plates and handlers bring into a pair: which data points are visited, and scales."""

from __future__ import annotations

import math
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample

from .modules import Callee, under
from .sites import counts, sample_sites


def with_own_indices(function: Callee) -> Callee:
    """A model or a guide whose plates keep what they are told to visit, or all there is, when it is replayed.

    Replay hands the guide's indices on to the model, as it must where they are drawn. But ``as batch`` of a model's
    ``pyro.plate("data", N, subsample=x)`` is x, and would be 0, 1, 2, ... beside a guide's ``pyro.plate("data",
    len(x))``.
    """
    return under(_OwnIndices, function)


class _OwnIndices(Messenger):
    """Hides plates' indices from the handlers outside, but for those that are drawn."""

    def _pyro_sample(self, msg: Any) -> None:
        if site_is_subsample(msg):
            size, part = msg["fn"].size, msg["fn"].subsample_size
            msg["stop"] = msg["value"] is not None or part is None or part >= size


def whole_of_part(site: Any) -> float:
    """How many times as large the plates inside that of the data are as the part of them that is visited."""
    inner = [frame for frame in site["cond_indep_stack"] if frame.dim != -1 and frame.full_size is not None]
    return math.prod(frame.full_size / frame.size for frame in inner)


def for_the_batch(model: Callee, guide: Callee) -> tuple[Callee, Callee]:
    """The pair, its plate over the data of the size of the batch: a total size stated there scales nothing.

    ``pyro.plate("data", N, subsample=x)`` makes the loss of a batch one of all N data points.
    """
    return under(_ForTheBatch, model), under(_ForTheBatch, guide)


class _ForTheBatch(Messenger):
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
