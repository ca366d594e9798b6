"""Which sites of a trace count, and which of them are latent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyro import poutine
from pyro.infer.inspect import site_is_deterministic
from pyro.poutine.util import site_is_subsample

PARTICLES = "_particles"  # the outer plate of several draws for each data point
SUMMED_OUT = "_summed_out"  # the deterministic site that holds the scores of a function with sites summed out


def counts(site: Any) -> bool:
    """Whether a site carries a log-probability: a sample site, no plate's own subsampling and no deterministic one."""
    return site["type"] == "sample" and not site_is_subsample(site) and not site_is_deterministic(site)


def is_latent(site: Any) -> bool:
    """Whether a site, in a trace or on its way through the handlers, is drawn and counts."""
    return counts(site) and not site["is_observed"]


def sample_sites(trace: poutine.Trace) -> Iterator[tuple[str, Any]]:
    """The sample sites of a trace that carry a log-probability."""
    return ((name, site) for name, site in trace.nodes.items() if counts(site))


def latents_of(trace: poutine.Trace) -> dict[str, Any]:
    """The latent sites of a trace, by name, without a guide's auxiliary ones."""
    return {n: s for n, s in sample_sites(trace) if is_latent(s) and not s["infer"].get("is_auxiliary")}


def is_summed_out(trace: poutine.Trace) -> bool:
    """Whether a trace holds scores with sites summed out: its own sites alone do not tell its log-probability."""
    return SUMMED_OUT in trace.nodes
