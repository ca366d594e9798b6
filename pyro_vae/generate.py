"""Images from any pair: unconditional draws and reconstructions."""

from __future__ import annotations

from typing import Any

from pyro import poutine
from torch import Tensor

from .pairs import Callee, evaluating, sample_sites, seeded, traces


def sample(model: Callee, like: Tensor, *, seed: int | None = 0) -> tuple[Tensor, Tensor]:
    """Unconditional draws of x, from the very code of the model that is trained.

    Args:
        model: p(x, z).
        like: any tensor of the wanted number and shape of images (N, ...); its values are not used.
        seed: of the draws; None for the global stream.

    Returns:
        Draws of x, and the means of the p(x|z) that they were drawn from, both (N, ...).
    """
    with seeded(seed), evaluating(model, model):
        site = _observed_site(poutine.trace(poutine.uncondition(model)).get_trace(like))
    return site["value"], _mean(site)


def reconstruct(model: Callee, guide: Callee, x: Tensor, *, seed: int | None = 0) -> Tensor:
    """Mean of p(x|z) (a draw where it has none) for one z drawn from the guide for each image x (N, ...)."""
    with seeded(seed), evaluating(model, guide):
        return _mean(_observed_site(traces(model, guide, x)[0]))


def is_discrete(model: Callee, like: Tensor) -> bool:
    """Whether p(x) is a probability; a density otherwise, whose logarithm cannot be compared with that of one."""
    with seeded(0), evaluating(model, model):
        site = _observed_site(poutine.trace(poutine.uncondition(model)).get_trace(like))
    return bool(site["fn"].support.is_discrete)


def _observed_site(trace: poutine.Trace) -> Any:
    for _, site in sample_sites(trace):
        if site["is_observed"] or site["infer"].get("was_observed"):
            return site
    raise ValueError("Expected a model with an observed site, pyro.sample(..., obs=x); got none.")


def _mean(site: Any) -> Tensor:
    try:
        mean: Tensor = site["fn"].mean
    except NotImplementedError:  # a distribution without a closed mean: show a draw, never the data themselves
        mean = site["fn"].sample() if site["is_observed"] else site["value"]
    return mean.expand(site["value"].shape)
