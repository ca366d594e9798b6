"""Whether p(x) is a probability or a density, whose logarithms cannot be compared."""

from __future__ import annotations

from collections.abc import Iterable

import pyro.distributions as dist
from pyro import poutine

from ..pairs.sites import sample_sites


def measure_of(model_trace: poutine.Trace, sites: Iterable[str] | None = None) -> str:
    """ "probability" where all observed values are discrete, "density" where none are, "mixed" where some are; "" where
    a distribution does not tell its support. Of all observed sites, or of some."""
    kinds = set()
    for name, site in sample_sites(model_trace):
        if site["is_observed"] and not isinstance(site["fn"], dist.Unit):  # a pyro.factor observes nothing
            if sites is not None and name not in sites:
                continue
            try:
                kinds.add("probability" if site["fn"].support.is_discrete else "density")
            except NotImplementedError:
                return ""
    return kinds.pop() if len(kinds) == 1 else "mixed" if kinds else ""
