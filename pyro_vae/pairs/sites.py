"""Which sites of a trace count, which of them are latent, and what the others observe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.infer.inspect import site_is_deterministic
from pyro.poutine.util import site_is_subsample

from .supports import is_point_mass

PARTICLES = "_particles"  # the outer plate of several draws for each data point
SUMMED_OUT = "_summed_out"  # the deterministic site that holds the scores of a function with sites summed out


def counts(site: Any) -> bool:
    """Whether a site carries a log-probability: a sample site, no plate's own subsampling and no deterministic one."""
    return site["type"] == "sample" and not site_is_subsample(site) and not _is_deterministic(site)


def _is_deterministic(site: Any) -> bool:
    """Whether a site is that of a `pyro.deterministic`, or what `poutine.reparam` leaves of a latent."""
    if site_is_deterministic(site):
        return True
    fn, observed = site["fn"], site["is_observed"] or site["infer"].get("was_observed")
    if not (observed and isinstance(fn, dist.MaskedDistribution) and is_point_mass(fn)):
        return False
    return not fn.log_prob(fn.mean if site["value"] is None else site["value"]).any()


def is_latent(site: Any) -> bool:
    """Whether a site, in a trace or on its way through the handlers, is drawn and counts."""
    return counts(site) and not site["is_observed"]


def sample_sites(trace: poutine.Trace) -> Iterator[tuple[str, Any]]:
    """The sample sites of a trace that carry a log-probability."""
    return ((name, site) for name, site in trace.nodes.items() if counts(site))


def observing_sites(trace: poutine.Trace) -> dict[str, Any]:
    """The sites of a model that observe values, by name: not those of a pyro.factor, which has none."""
    return {n: s for n, s in sample_sites(trace) if s["is_observed"] and not isinstance(s["fn"], dist.Unit)}


def counted_sites(trace: poutine.Trace, num_data: int) -> dict[str, int]:
    """The sites of a model that are observed, whose log-density is log p(x), and how many values of each data point
    they hold; a factor holds none, and an exposure, which is given, is not counted."""
    found = {}
    for name, site in sample_sites(trace):
        if site["is_observed"]:
            size = torch.as_tensor(site["value"]).numel() // num_data
            found[name] = 0 if isinstance(site["fn"], dist.Unit) else max(1, size - _num_given(site["fn"]))
    return found


def measure_of(trace: poutine.Trace, sites: Iterable[str] | None = None) -> str:
    """ "probability" where all values that a model observes are discrete, "density" where none are, "mixed" where some
    are, "" where a distribution does not tell its support. Of all observed sites, or of some."""
    kinds = set()
    for name, site in observing_sites(trace).items():
        if sites is None or name in sites:
            try:
                kinds.add("probability" if site["fn"].support.is_discrete else "density")
            except NotImplementedError:
                return ""
    return kinds.pop() if len(kinds) == 1 else "mixed" if kinds else ""


def _num_given(fn: Any) -> int:
    """How many values of an event a distribution is given, and claims no probability for."""
    while not hasattr(fn, "num_given") and hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return int(getattr(fn, "num_given", 0))


def latents_of(trace: poutine.Trace) -> dict[str, Any]:
    """The latent sites of a trace, by name, without a guide's auxiliary ones."""
    return {n: s for n, s in sample_sites(trace) if is_latent(s) and not s["infer"].get("is_auxiliary")}


def is_summed_out(trace: poutine.Trace) -> bool:
    """Whether a trace holds scores with sites summed out: its own sites alone do not tell its log-probability."""
    return SUMMED_OUT in trace.nodes
