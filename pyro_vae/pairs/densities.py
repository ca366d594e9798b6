"""What must hold of a guide for its draws to be weighted, or its density to be known at other draws."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from .amortized import check_amortized, check_no_autoguide
from .batch import Points
from .checks import CHECKED_AT_ONCE, check_data, check_latents
from .contexts import unvalidated
from .modules import Callee
from .scales import check_whole
from .scoring import drawn_from_prior, traces
from .sites import is_latent, latents_of, sample_sites
from .supports import describe, is_point_mass, is_straight_through, num_coordinates, of_one_value, support_of

CURE = "Give the pair another guide, or use annealed_log_marginal with start='prior', which needs none."
DRAWN_AT_ONCE = 2**22  # values


def check_own_density(guide: Callee, x: Points, cure: str) -> None:
    """Raise a ValueError unless a guide's density is known at latents that it has not drawn itself."""
    trace = poutine.trace(guide).get_trace(x)
    for name, site in sample_sites(trace):
        if isinstance(site["fn"], dist.Unit):
            continue
        if site["infer"].get("is_auxiliary"):
            raise ValueError(f"Expected a guide whose q(z|x) is known; got the auxiliary site {name!r}. {cure}")
        if is_straight_through(site["fn"]):
            raise ValueError(
                f"Expected a guide whose density is known at other draws; site {name!r} rounds its own, "
                f"straight through. {cure}"
            )
        if is_point_mass(site["fn"]):
            raise ValueError(f"Expected a guide with a density; got a point mass at site {name!r}. {cure}")
    elsewhere = poutine.condition(guide, data={name: site["value"].clone() for name, site in latents_of(trace).items()})
    try:
        poutine.trace(elsewhere).get_trace(x).compute_log_prob()
    except (NotImplementedError, KeyError) as error:
        raise ValueError(
            f"Expected a guide that can score latents that it has not drawn; its flow has no inverse ({error}). Use a "
            f"flow with an inverse. {cure}"
        ) from error


def check_guide(model: Callee, guide: Callee | None, x: Points, *, elsewhere: str | None = None) -> None:
    """Raise a ValueError unless log p(x) of all data x can be had by weighting the guide's draws, or, without a guide,
    the prior's.

    Beyond `check_data` and `check_latents`, a point mass has no density to weight by (unless an auxiliary site carries
    it), an auxiliary site beside latents that have one leaves p(x, z) / q(z, a|x), which is no weight for p(x), and a
    guide that cannot reach where the prior has mass would make log p(x) too low. ``elsewhere`` is the cure for a guide
    whose density is not known at latents it has not drawn; None where it need not be.
    """
    if guide is None:
        check_whole(drawn_from_prior(model, x[:3]))
    else:
        _check_weights(model, guide, x[:3])
        _check_reach(model, guide, x)
        if elsewhere is not None:
            check_own_density(guide, x[:3], elsewhere)
    check_data(model, guide, [x])


def _check_weights(model: Callee, guide: Callee, x: Points) -> None:
    check_no_autoguide(model, guide)
    with unvalidated():  # else the model may stumble over the guide's draws before they are looked at
        model_trace, guide_trace = traces(model, guide, x)
        for name, site in sample_sites(model_trace):
            if isinstance(site["fn"], dist.ImproperUniform):
                raise ValueError(
                    f"Expected a prior that integrates to 1; got a flat one at site {name!r}: this model, an "
                    f"autoencoder, has no log p(x). Look at its reconstructions, or train it with a prior and a "
                    f"Gaussian guide."
                )
        check_whole(model_trace)
    latents = [(name, site["fn"]) for name, site in sample_sites(model_trace) if is_latent(site)]
    points = [name for name, fn in latents if is_point_mass(guide_trace.nodes[name]["fn"]) and not is_point_mass(fn)]
    noise = []
    for name, site in sample_sites(guide_trace):
        if isinstance(site["fn"], dist.Unit):  # of a pyro.factor, which only trains
            continue
        if site["is_observed"]:
            raise ValueError(
                f"Expected a guide that draws latents and observes nothing; got site {name!r}. Give it the latents of "
                f"the model alone."
            )
        if name not in model_trace and not is_point_mass(site["fn"]):
            noise.append(name)
    if points and not noise:
        raise ValueError(
            f"Expected a guide that draws each latent from a density; site {points[0]!r} is a point mass, so that "
            f"there is no log p(x) to be had from it. {CURE}"
        )
    if noise and not points:
        raise ValueError(
            f"Expected a guide that draws each latent from a density of its own; it draws the auxiliary site "
            f"{noise[0]!r} besides, whose density belongs to no part of p(x, z). {CURE}"
        )
    if points:
        _check_carried_density(guide, x[:1], points={name: fn for name, fn in latents if name in points}, noise=noise)
    check_latents(model_trace, guide_trace)
    check_amortized(model, guide, x)


def _check_reach(model: Callee, guide: Callee, x: Points) -> None:
    """Raise a ValueError where a guide cannot draw what its prior does: for all data x, where it reaches not as far for
    one as for another; else a few of them tell."""
    names: list[str] | None = None
    for part in (x[:3], *x.split(CHECKED_AT_ONCE)):
        with unvalidated():
            prior_trace = drawn_from_prior(model, part)
            at_prior = poutine.trace(poutine.replay(guide, trace=prior_trace)).get_trace(part)
        differing = []
        for name in latents_of(prior_trace) if names is None else names:
            prior, fn = prior_trace.nodes[name]["fn"], at_prior.nodes[name]["fn"]
            if (guided := support_of(fn)) is None:
                continue
            with unvalidated():
                draws = _draws(prior)
            if not guided.check(draws).all():
                raise ValueError(
                    f"Expected the guide of site {name!r} to reach all of the support of its prior, "
                    f"{describe(support_of(prior))}; draws of the prior lie outside {describe(guided)}. {CURE}"
                )
            if guided.is_discrete and _rules_out(fn, draws):
                raise ValueError(
                    f"Expected a guide of site {name!r} that draws, however rarely, all that its prior draws; it gives "
                    f"some of that probability 0. Give it a small one instead of 0, such as a logit of -10 instead of "
                    f"-inf, or leave the values out of the prior, too."
                )
            if guided.is_discrete or any(isinstance(bound, Tensor) for bound in vars(of_one_value(guided)).values()):
                differing.append(name)
        if not (names := differing):
            return


def _draws(fn: Any) -> Tensor:
    """Many draws (S, ...), for supports that differ by little shall be found out, too."""
    count = max(1, min(100, DRAWN_AT_ONCE // max(1, fn.shape().numel())))
    try:
        return fn(torch.Size((count,)))
    except RuntimeError:  # there are distributions that draw one at a time
        return torch.stack([fn() for _ in range(count)])


def _rules_out(fn: Any, values: Tensor) -> bool:
    """Whether a discrete distribution gives one of the values probability 0."""
    with unvalidated():
        log_prob = fn.log_prob(values)
    never = log_prob.isneginf()
    if isinstance(fn, torch.distributions.Categorical):  # given a probability of 0, it scores the machine's epsilon
        exact = torch.distributions.Categorical(logits=fn.probs.log(), validate_args=False).log_prob(values)
        never = never | (exact.isneginf() & (log_prob > math.log(torch.finfo(log_prob.dtype).eps) - 1))
    return bool(never.any())


def _check_carried_density(guide: Callee, x: Points, *, points: dict[str, Any], noise: list[str]) -> None:
    """Raise a ValueError unless point masses have the density that the auxiliary sites give them.

    With z = f(a) it is q(a) / |det df/da|: the first is the auxiliary sites' own, the second has to be the point
    masses' ``log_density``. f is taken to be one-to-one; where it has no gradient, nothing can be told.
    """
    with unvalidated(), torch.enable_grad():
        trace = poutine.trace(guide).get_trace(x)
        masses = [name for name, site in sample_sites(trace) if is_point_mass(site["fn"])]
        for name in masses:  # made anew from the auxiliary sites, those on the way too
            trace.remove_node(name)
        inputs = [trace.nodes[name]["value"].detach() for name in noise]
        if not all(value.is_floating_point() for value in inputs):
            return
        for name, value in zip(noise, inputs, strict=True):
            trace.nodes[name]["value"] = value.requires_grad_()
        trace = poutine.trace(poutine.replay(guide, trace=trace)).get_trace(x)
        outputs = torch.cat([trace.nodes[name]["value"].flatten() for name in points])
        given = sum(trace.nodes[name]["fn"].log_prob(trace.nodes[name]["value"]).sum().item() for name in masses)
        drawn = sum(value.numel() for value in inputs)
        sizes = [num_coordinates(trace.nodes[name]["value"], fn) for name, fn in points.items()]
        free = [size for size in sizes if size is not None]
        if len(free) == len(sizes) and sum(free) != drawn:
            raise ValueError(
                f"Expected as many auxiliary numbers as the point masses {[*points]} have free coordinates, "
                f"{sum(free)}; got {drawn} at {noise}: another number leaves q(z|x) unknown. Draw each latent from a "
                f"density of its own."
            )
        if not outputs.requires_grad or len(outputs) != drawn:
            return
        rows = [
            torch.cat([g.flatten() for g in torch.autograd.grad(z, inputs, retain_graph=True, materialize_grads=True)])
            for z in outputs
        ]
    wanted = -torch.linalg.slogdet(torch.stack(rows).double()).logabsdet.item()
    if not abs(given - wanted) < 1e-2 + 1e-3 * abs(wanted):
        raise ValueError(
            f"Expected log_density={wanted:.3f} at the point masses {[*points]}, which is -log|det dz/da| for the "
            f"auxiliary sites {noise} that they are made from; got {given:.3f}. Give it: dist.Delta(z, "
            f"log_density=...), or draw z from a TransformedDistribution instead."
        )
