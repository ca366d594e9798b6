"""Several draws for each data point at once: in a plate of particles, or with the data repeated."""

from __future__ import annotations

from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from .modules import Callee
from .scoring import score_traces, traces
from .sites import sample_sites


def in_particle_plate(function: Callee, num_particles: int) -> Callee:
    """The function with all its sites in an outer plate of particles at dim -2."""

    def vectorized(x: Tensor) -> Any:
        with pyro.plate("_particles", num_particles, dim=-2):
            return function(x)

    return vectorized


def _broadcasts(model: Callee, guide: Callee, x: Tensor) -> bool:
    particles, images = 2, len(x)
    rows = x.repeat(particles, *[1] * (x.dim() - 1))  # (K B, ...)
    # Outside the try: a pair that fails on plain images has a fault of its own to report.
    _, plain_guide = traces(model, guide, rows)
    try:
        plated = traces(in_particle_plate(model, particles), in_particle_plate(guide, particles), x)
        plated_weight = score_traces(*plated, shape=(particles, images)).log_weight
    except (RuntimeError, ValueError, IndexError, TypeError):
        return False
    plated_sites = dict(sample_sites(plated[1]))
    for name, site in sample_sites(plain_guide):
        site["value"] = plated_sites[name]["value"].flatten(0, 1)
    same_latents = traces(model, poutine.replay(guide, trace=plain_guide), rows)
    plain_weight = score_traces(*same_latents, shape=(particles * images,)).log_weight
    return torch.allclose(plated_weight.flatten(), plain_weight, rtol=1e-4, atol=1e-3)
