"""Losses that are NaN or infinite, and the sites that they come from."""

from __future__ import annotations

import itertools

from pyro import poutine

from ..pairs.sites import sample_sites


class NonFiniteLoss(FloatingPointError):
    """The loss or its gradient became NaN or infinite, or no validation loss was finite; the best state is kept."""


def sites_not_finite(*traces: poutine.Trace) -> list[str]:
    """Names of the sites whose log-probability is not finite, in order."""
    sites = itertools.chain.from_iterable(map(sample_sites, traces))
    return sorted({name for name, site in sites if not site["fn"].log_prob(site["value"]).isfinite().all()})


def not_finite_at(step: str, sites: list[str]) -> NonFiniteLoss:
    """The error of a step, named in words."""
    found = f"log-probabilities that are NaN or infinite at the sites {sites}"
    if not sites:
        found = "a gradient that is NaN or infinite, although the log-probabilities of all sites are finite"
    return NonFiniteLoss(
        f"Expected a finite loss and gradient; at {step} got {found}. The last good state is kept. Try a lower "
        f"learning rate, clip_norm, or a floor under the scales."
    )
