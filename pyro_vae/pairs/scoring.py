"""Log-probabilities of a pair, by data point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from .modules import Callee
from .sites import sample_sites


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of one draw of the latents, in nats, each (B,) per image or (K, B) with K particles."""

    log_likelihood: Tensor  # of the observed sites, log p(x|z)
    log_prior: Tensor  # of the model's latent sites, log p(z)
    log_guide: Tensor  # of the guide's sites, log q(z|x)

    @property
    def log_weight(self) -> Tensor:
        """log p(x, z) - log q(z|x): the log importance weight, and one draw of the ELBO."""
        return self.log_likelihood + self.log_prior - self.log_guide

    @property
    def distortion(self) -> Tensor:
        """-log p(x|z): one draw of the distortion."""
        return -self.log_likelihood

    @property
    def rate(self) -> Tensor:
        """log q(z|x) - log p(z): one draw of the rate, whose mean is KL(q(z|x) || p(z))."""
        return self.log_guide - self.log_prior


def traces(model: Callee, guide: Callee, x: Tensor) -> tuple[poutine.Trace, poutine.Trace]:
    """Trace the guide and the model replayed against it, and check that they fit together.

    Raises:
        ValueError: a latent site that only one of the two has.
    """
    guide_trace = poutine.trace(guide).get_trace(x)
    model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(x)
    latent = {name for name, site in sample_sites(model_trace) if not site["is_observed"]}
    guided = {name for name, site in sample_sites(guide_trace) if not site["infer"].get("is_auxiliary")}
    if missing := sorted(latent - guided):
        raise ValueError(f"Expected the guide to sample every latent site of the model; it misses {missing}.")
    if surplus := sorted(guided - {name for name, _ in sample_sites(model_trace)}):
        raise ValueError(
            f"Expected every site of the guide in the model; the guide alone has {surplus}. Remove it, or mark it "
            f"with infer={{'is_auxiliary': True}}."
        )
    return model_trace, guide_trace


def score(model: Callee, guide: Callee, x: Tensor) -> Scores:
    """Draw latents from the guide and score them, one number for each data point.

    Scales (KL weights, subsampling) are left out; masks count.

    Args:
        x: data (B, ...).

    Returns:
        Scores of shape (B,).

    Raises:
        ValueError: model and guide do not fit, or a site lies outside the plate over the data, so that log p(x) of one
            data point is not defined by it.
    """
    return score_traces(*traces(model, guide, x), shape=(len(x),))


def score_traces(model_trace: poutine.Trace, guide_trace: poutine.Trace, *, shape: tuple[int, ...]) -> Scores:
    """`Scores` of given traces, each term of the given shape (B,) or (K, B)."""
    log_likelihood = log_prior = log_guide = torch.zeros(())
    for name, site in sample_sites(model_trace):
        term = site_log_prob(name, site, shape)
        if site["is_observed"]:
            log_likelihood = log_likelihood + term
        else:
            log_prior = log_prior + term
    for name, site in sample_sites(guide_trace):
        log_guide = log_guide + site_log_prob(name, site, shape)
    return Scores(*(term.expand(shape) for term in (log_likelihood, log_prior, log_guide)))


def site_log_prob(name: str, site: Any, shape: tuple[int, ...]) -> Tensor:
    """Unscaled, masked log-probability of one site for each image, of the given shape (B,) or (K, B)."""
    frames = site["cond_indep_stack"]
    if not any(frame.vectorized and frame.dim == -1 and frame.size == shape[-1] for frame in frames):
        raise ValueError(
            f"Expected site {name!r} inside the plate over images, pyro.plate('data', len(x), dim=-1); it is outside, "
            f"so log p(x) of one image is not defined."
        )
    log_prob: Tensor = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
    if site["mask"] is not None:
        log_prob = torch.where(torch.as_tensor(site["mask"], device=log_prob.device), log_prob, 0.0)
    if log_prob.dim() > len(shape):  # inner plates of the model, left of the images
        log_prob = log_prob.sum(tuple(range(log_prob.dim() - len(shape))))
    return log_prob.expand(shape)
