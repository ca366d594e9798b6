"""Which sites of a trace count, and which of them are latent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pyro import poutine
from pyro.poutine.util import site_is_subsample


def sample_sites(trace: poutine.Trace) -> Iterator[tuple[str, Any]]:
    """The sample sites of a trace that carry a log-probability: no subsampling, no deterministic ones."""
    for name, site in trace.nodes.items():
        if site["type"] == "sample" and not site_is_subsample(site) and not site["infer"].get("_deterministic"):
            yield name, site


def latents_of(trace: poutine.Trace) -> dict[str, Any]:
    """The latent sites of a trace, by name."""
    return {n: s for n, s in sample_sites(trace) if not s["is_observed"] and not s["infer"].get("is_auxiliary")}
