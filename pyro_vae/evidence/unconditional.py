"""Draws of all that a model has, its data too; refused where it reads the data it is to draw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from ..pairs.contexts import unvalidated
from ..pairs.modules import Callee
from ..pairs.sites import sample_sites


def drawn_from(model: Callee, like: Tensor, *, given: Mapping[str, Tensor] | None = None) -> poutine.Trace:
    """A trace of the model's own draws of its latents and of its data, for an argument whose values do not count.

    Args:
        model: p(x, z).
        like: its argument (N, ...).
        given: values of latent sites that are not to be drawn.

    Raises:
        ValueError: the values do count: a site has another distribution when the drawn data are the argument. A decoder
            that reads earlier values off its argument (teacher forcing), or a covariate, is one like that.
    """
    given = given or {}
    free = poutine.condition(poutine.uncondition(model), data=given)
    drawn = poutine.trace(free).get_trace(like)
    with unvalidated():  # under another distribution, what was drawn may lie outside the support
        again = poutine.trace(poutine.replay(free, trace=drawn)).get_trace(_other(drawn, like))
        sites = [(name, site) for name, site in sample_sites(drawn) if name not in given]
        log_probs = [again.nodes[name]["fn"].log_prob(site["value"]) for name, site in sites]
    for (name, site), log_prob in zip(sites, log_probs, strict=True):
        if not torch.allclose(site["fn"].log_prob(site["value"]), log_prob, rtol=1e-5, atol=1e-5, equal_nan=True):
            raise ValueError(
                f"Expected a model that reads nothing off its argument before it is observed; got another distribution "
                f"at site {name!r} for other values of it: nothing can be drawn that does not depend on them. Make a "
                f"distribution whose sample() draws one value after the other and whose log_prob reads the earlier "
                f"ones off the observed value, as the PixelCNN likelihood is."
            )
    return drawn


def _other(drawn: poutine.Trace, like: Tensor) -> Tensor:
    """Other values for the argument: those drawn for it where they have its shape, else made up."""
    for site in observed_sites(drawn).values():
        value = site["value"]
        if value.shape == like.shape and not torch.equal(value.to(like.dtype), like):
            return value.to(like.dtype)
    if like.is_floating_point():
        return torch.rand(like.shape, dtype=like.dtype, device=like.device)
    return torch.where(like == 0, torch.ones_like(like), torch.zeros_like(like))


def observed_sites(drawn: poutine.Trace) -> dict[str, Any]:
    """The sites that the model observes, by name, of a trace in which they are drawn; no factors, which have no
    value."""
    sites = sample_sites(drawn)
    return {n: site for n, site in sites if site["infer"].get("was_observed") and not isinstance(site["fn"], dist.Unit)}


def observed_site(drawn: poutine.Trace, name: str | None = None) -> tuple[str, Any]:
    """The name and the one observed site of such a trace, or that of the given name where there are several.

    Raises:
        ValueError: none, several without a name, or not one of that name.
    """
    sites = observed_sites(drawn)
    if not sites:
        raise ValueError("Expected a model with an observed site, pyro.sample(..., obs=x); got none.")
    if name is None and len(sites) > 1:
        raise ValueError(
            f"Expected a model with one observed site; got {len(sites)}: {sorted(sites)}. sample, reconstruct and "
            f"decode give all of them, or one: site={next(iter(sites))!r}."
        )
    if name is not None and name not in sites:
        raise ValueError(f"Expected site to be one that the model observes, {sorted(sites)}; got {name!r}.")
    name = next(iter(sites)) if name is None else name
    return name, sites[name]
