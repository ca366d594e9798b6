"""Whether p(x) is a probability or a density, whose logarithms cannot be compared."""

from __future__ import annotations

from collections.abc import Iterable

from pyro import poutine

from ..pairs.sites import observing_sites


def measure_of(model_trace: poutine.Trace, sites: Iterable[str] | None = None) -> str:
    """ "probability" where all observed values are discrete, "density" where none are, "mixed" where some are; "" where
    a distribution does not tell its support. Of all observed sites, or of some."""
    kinds = set()
    for name, site in observing_sites(model_trace).items():
        if sites is None or name in sites:
            try:
                kinds.add("probability" if site["fn"].support.is_discrete else "density")
            except NotImplementedError:
                return ""
    return kinds.pop() if len(kinds) == 1 else "mixed" if kinds else ""
