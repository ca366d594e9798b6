"""Nats in each latent dimension."""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from .sites import is_summed_out, latents_of
from .supports import factors


def rows(values: Tensor, event_dim: int, shape: tuple[int, ...]) -> Tensor:
    """Values (*inner plates, *shape, *event) as (*shape, D)."""
    inner = values.dim() - event_dim - len(shape)
    values = values.movedim(tuple(range(inner)), tuple(range(-inner, 0))) if inner else values
    return values.reshape(*shape, -1).double()


def rate_by_dimension(
    model_trace: poutine.Trace, guide_trace: poutine.Trace, *, shape: tuple[int, ...]
) -> dict[str, Tensor] | None:
    """The rate of each latent dimension, (*shape, D) by site, of traces of a pair; its sum over all is the rate.

    KL(q(z_d|x) || p(z_d)) in closed form where there is one latent site and a formula, else log q - log p of its draw.
    None where a guide or a prior does not factorize, so that single dimensions have no rate of their own.
    """
    if is_summed_out(model_trace):  # the densities of a single site depend on what was drawn there
        return None
    latents, found = latents_of(guide_trace), {}
    for name, site in latents.items():
        if (nats := _of_site(model_trace.nodes[name], site, shape, len(latents))) is None:
            return None
        found[name] = nats
    return found


def _of_site(prior: Any, site: Any, shape: tuple[int, ...], num_sites: int) -> Tensor | None:
    q, p = factors(site["fn"]), factors(prior["fn"])
    if q is None or p is None or site["mask"] is not None or prior["mask"] is not None:
        return None
    try:
        if num_sites > 1:  # the prior of one may be conditional on a draw that depends on the other: no closed form
            raise NotImplementedError
        nats = torch.as_tensor(torch.distributions.kl_divergence(q, p))  # 0.0 for what a mask leaves out
    except NotImplementedError:
        nats = q.log_prob(site["value"]) - p.log_prob(site["value"])
    return rows(nats.expand_as(site["value"]), site["fn"].event_dim, shape)
