"""Data drawn from a model, with the latents that they were drawn from: exact samples of their posteriors."""

from __future__ import annotations

import torch
from pyro import poutine
from torch import Tensor

from ..pairs.batch import Points, joined, shapes_of
from ..pairs.modules import Callee
from ..pairs.particles import repeat_data
from ..pairs.scoring import score_traces
from ..pairs.unconditional import drawn_from, observed_entries, observed_sites, replaced_by_draws
from .annealing_path import flat
from .drawing import can_be_keyed, keyed, one_by_one
from .latent_space import unconstrained

SIMULATION = 3 * 2**30  # random stream of the simulated data


def simulate_by_key(model: Callee, like: Points, keys: Tensor) -> tuple[Points, Tensor]:
    """As `simulate`, each data point by random numbers of its own; one at a time where they cannot be told apart."""
    zero = torch.zeros((), dtype=torch.int64, device=like.device)
    settings = like, keys, zero, zero + SIMULATION, 1

    def draw(like: Points, count: int) -> tuple[Points, Tensor]:
        return simulate(model, repeat_data(like, count))

    drawn = [keyed(draw, *settings)] if can_be_keyed(draw, like, keys) else one_by_one(draw, *settings)
    return joined([x for x, _ in drawn]), torch.cat([u for _, u in drawn])


def simulate(model: Callee, like: Points) -> tuple[Points, Tensor]:
    """Data x (B, ...) drawn from the model, and the latents they were drawn from, u (B, D) in unconstrained space.

    Inputs that no site observes are those of ``like``.
    """
    drawn = drawn_from(model, like)
    sites, observed = observed_sites(drawn), observed_entries(drawn, like)
    for name, site in sites.items():
        if name not in observed.values():
            raise ValueError(
                f"Expected site {name!r} to observe an input of the model as it is, of shape {shapes_of(like)}; it "
                f"observes other values, of shape {tuple(site['value'].shape[1:])}. Let the model observe its argument "
                f"as it is, and several of them as inputs of their own: (x, y)."
            )
    if not sites:
        raise ValueError("Expected a model with an observed site, pyro.sample(..., obs=x); got none.")
    x = replaced_by_draws(drawn, like, observed)
    replayed = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(x)
    score_traces(replayed, poutine.Trace(), shape=(len(x),))  # for its errors: a latent outside the plate over the data
    return x, flat(unconstrained(replayed))
