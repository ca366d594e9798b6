"""Several draws for each data point at once: in a plate of particles, or with the data repeated."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from pyro import poutine

from .batch import Points, map_points
from .enumerated import SummedOut
from .modules import Callee, under
from .scoring import score_traces, traces
from .sites import PARTICLES, sample_sites


def in_particle_plate(function: Callee, num_particles: int) -> Callee:
    """The function with all its sites in an outer plate of particles at dim -2."""
    if isinstance(function, SummedOut):
        return SummedOut(in_particle_plate(function.function, num_particles), function.names)  # around both of its runs
    return under(lambda: pyro.plate(PARTICLES, num_particles, dim=-2), function)


def repeat_data(x: Any, num_particles: int) -> Any:
    """The data (B, ...), copy after copy: (K B, ...)."""
    return map_points(x, lambda entry: entry.repeat(num_particles, *[1] * (entry.dim() - 1)))


def check_copies(model: Callee, guide: Callee, x: Points) -> None:
    """Raise a ValueError unless the first data point has the same log weight alone and beside a copy of itself.

    Copies stand beside each other where several draws of a data point are scored at once. A pair that looks at those
    beside it, at their mean, say, sees no difference then, but one that depends on their number does.
    """
    point, rows = x[:1], repeat_data(x[:1], 2)
    _, alone = traces(model, guide, point)
    _, copied = traces(model, guide, rows)
    values = dict(sample_sites(alone))
    for name, site in sample_sites(copied):
        dim = -1 - site["fn"].event_dim
        site["value"] = torch.cat([values[name]["value"]] * 2, dim)
    one = score_traces(*traces(model, poutine.replay(guide, trace=alone), point), shape=(1,)).log_weight
    two = score_traces(*traces(model, poutine.replay(guide, trace=copied), rows), shape=(2,)).log_weight
    if not torch.allclose(one.expand(2), two, rtol=1e-4, atol=1e-3, equal_nan=True):
        raise ValueError(
            "Expected a pair that scores a data point the same however many there are; got other log weights for one "
            "and for two copies of it. Remove what depends on the size of the batch, such as len(x), but the plate."
        )


def broadcasts(model: Callee, guide: Callee, x: Points) -> bool:
    """Whether the pair may be run in a plate of particles: the same latents have the same log weights as with the data
    x (B, ...) repeated. Where latents cannot be scored a second time, it may not."""
    rows = repeat_data(x, 2)
    # Outside the try: a pair that fails on plain data has a fault of its own to report.
    _, plain_guide = traces(model, guide, rows)
    try:
        plated = traces(in_particle_plate(model, 2), in_particle_plate(guide, 2), x)
        plated_weight = score_traces(*plated, shape=(2, len(x))).log_weight
        plated_sites = dict(sample_sites(plated[1]))
        for name, site in sample_sites(plain_guide):
            site["value"] = plated_sites[name]["value"].flatten(0, 1)
        same_latents = traces(model, poutine.replay(guide, trace=plain_guide), rows)
        plain_weight = score_traces(*same_latents, shape=(len(rows),)).log_weight
    except (RuntimeError, ValueError, IndexError, TypeError, KeyError):  # NotImplementedError is a RuntimeError
        return False
    return torch.allclose(plated_weight.flatten(), plain_weight, rtol=1e-4, atol=1e-3)
