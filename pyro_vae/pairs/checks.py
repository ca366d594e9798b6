"""What must hold of a pair before it is trained or evaluated, said in a sentence where it does not."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor
from torch.distributions import constraints

from .contexts import unvalidated
from .modules import Callee
from .scoring import traces
from .sites import sample_sites
from .supports import _coordinates, _name, _num_coordinates, _of_one_value, _support, is_point_mass


def check_support(model_trace: poutine.Trace) -> None:
    """Raise a ValueError unless the observed values lie in the support of their distributions.

    Pyro checks it too, and prints the tensor; this says it in a sentence, before the first step.
    """
    for name, site in sample_sites(model_trace):
        if not site["is_observed"] or (support := _support(site["fn"])) is None:
            continue
        inside = support.check(site["value"])
        if not inside.all():
            support = _of_one_value(support)
            # An event's support tells which events are wrong, not which of their values: show one between 0 and 1.
            values = site["value"][~inside].flatten()
            shown = values[(values != 0) & (values != 1)][:1].tolist() or values[:1].tolist()
            cure = "Scale, round or shift the data, or take another likelihood."
            if support is constraints.boolean:
                cure = (
                    "Grey pixels under a Bernoulli give a bound on no likelihood: binarize them "
                    "(binarization='dynamic', --binarization dynamic), or take another likelihood."
                )
            raise ValueError(
                f"Expected data in the support of site {name!r}, {support}; got values such as {shown[0]:.4g}. {cure}"
            )


def check_latents(model_trace: poutine.Trace, guide_trace: poutine.Trace) -> bool:
    """Raise a ValueError unless each latent's guide lives on the support of its prior, and both count it for the same
    images; tell whether one is discrete.

    A draw in the right place is not enough: a density on the simplex or on the sphere is one per area there, not per
    volume, so that its ratio to a density over all vectors means nothing.
    """
    discrete = False
    for name, site in sample_sites(model_trace):
        guided = guide_trace.nodes.get(name)
        if site["is_observed"] or guided is None or is_point_mass(guided["fn"]):
            continue
        if not _same_mask(site["mask"], guided["mask"]):
            raise ValueError(
                f"Expected site {name!r} under the same mask in model and guide; it is not: where only one of the two "
                f"counts a latent, log p(x, z) - log q(z|x) is no weight. Put poutine.mask around the site in both."
            )
        prior, guide = _support(site["fn"]), _support(guided["fn"])
        if prior is None or guide is None:
            continue
        discrete = discrete or bool(prior.is_discrete)
        alike = _coordinates(prior, site["fn"].event_shape) == _coordinates(guide, guided["fn"].event_shape)
        if not (alike and prior.check(site["value"]).all()):
            raise ValueError(
                f"Expected the guide of site {name!r} on the support of its prior, {_name(prior)}; got {_name(guide)}. "
                f"Take an encoder for this prior (simplex: DirichletEncoder, LogisticNormalEncoder; sphere: "
                f"VonMisesFisherEncoder; one-hot: CategoricalEncoder with as many categories; 0 or 1: "
                f"BernoulliEncoder, with a temperature in both or in neither; any vector: GaussianEncoder), or another "
                f"prior."
            )
    return discrete


def check_own_density(guide_trace: poutine.Trace, cure: str) -> None:
    """Raise a ValueError where a guide draws auxiliary sites: then its density at given latents is not known."""
    for name, site in sample_sites(guide_trace):
        if site["infer"].get("is_auxiliary"):
            raise ValueError(
                f"Expected a guide that draws each latent from a density; its site {name!r} is auxiliary. {cure}"
            )


def check_guide(model: Callee, guide: Callee, x: Tensor) -> None:
    """Raise a ValueError unless log p(x) can be had by weighting the guide's draws.

    Beyond `check_latents`, a point mass has no density to weight by (unless an auxiliary site carries it), an auxiliary
    site beside latents that have one leaves p(x, z) / q(z, a|x), which is no weight for p(x), and a guide that cannot
    reach where the prior has mass would make log p(x) too low.
    """
    cure = "Give the pair another guide, or use annealed_log_marginal with start='prior', which needs none."
    with unvalidated():  # else the model may stumble over the guide's draws before they are looked at
        model_trace, guide_trace = traces(model, guide, x)
        check_proper(model_trace)
        prior_trace = poutine.trace(model).get_trace(x)
        at_prior = poutine.trace(poutine.replay(guide, trace=prior_trace)).get_trace(x)
    latents = [(name, site["fn"]) for name, site in sample_sites(model_trace) if not site["is_observed"]]
    points = [name for name, fn in latents if is_point_mass(guide_trace.nodes[name]["fn"]) and not is_point_mass(fn)]
    noise = []
    for name, site in sample_sites(guide_trace):
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
            f"there is no log p(x) to be had from it. {cure}"
        )
    if noise and not points:
        raise ValueError(
            f"Expected a guide that draws each latent from a density of its own; it draws the auxiliary site "
            f"{noise[0]!r} besides, whose density belongs to no part of p(x, z). {cure}"
        )
    if points:
        _check_carried_density(guide, x[:1], points={name: fn for name, fn in latents if name in points}, noise=noise)
    check_latents(model_trace, guide_trace)
    for name, prior in latents:
        guided = _support(at_prior.nodes[name]["fn"])
        with unvalidated():  # many draws: supports that differ by little shall be found out, too
            draws = prior_trace.nodes[name]["fn"].sample((100,))
        if guided is not None and not guided.check(draws).all():
            raise ValueError(
                f"Expected the guide of site {name!r} to reach all of the support of its prior, "
                f"{_name(prior.support)}; draws of the prior lie outside {_name(guided)}. {cure}"
            )


def _check_carried_density(guide: Callee, x: Tensor, *, points: dict[str, Any], noise: list[str]) -> None:
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
        sizes = [_num_coordinates(trace.nodes[name]["value"], fn) for name, fn in points.items()]
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


def check_proper(model_trace: poutine.Trace) -> None:
    """Raise a ValueError where a prior does not integrate to 1."""
    for name, site in sample_sites(model_trace):
        if isinstance(site["fn"], dist.ImproperUniform):
            raise ValueError(
                f"Expected a prior that integrates to 1; got a flat one at site {name!r}: this model, an autoencoder, "
                f"has no log p(x). Look at its reconstructions, or train it with a prior and a Gaussian guide."
            )


def _same_mask(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(*torch.broadcast_tensors(first, second))
    plain = [mask is None or mask is True for mask in (first, second)]
    return all(plain) or (first is second)
