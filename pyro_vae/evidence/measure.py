"""Whether p(x) is a probability or a density, whose logarithms cannot be compared."""

from __future__ import annotations

import pyro.distributions as dist
from pyro import poutine

from ..pairs.sites import sample_sites


def measure_of(model_trace: poutine.Trace) -> str:
    """ "probability" where all observed values are discrete, "density" where none are, "mixed" where some are; "" where
    a distribution does not tell its support."""
    kinds = set()
    for _, site in sample_sites(model_trace):
        if site["is_observed"] and not isinstance(site["fn"], dist.Unit):  # a pyro.factor observes nothing
            try:
                kinds.add("probability" if site["fn"].support.is_discrete else "density")
            except NotImplementedError:
                return ""
    return kinds.pop() if len(kinds) == 1 else "mixed" if kinds else ""
