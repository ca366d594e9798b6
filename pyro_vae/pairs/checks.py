"""What must hold of a pair before it is trained or evaluated, said in a sentence where it does not."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor
from torch.distributions.constraints import Constraint

from .batch import Points
from .contexts import seeded, unvalidated
from .lookups_private import LookupsChecked
from .masked_private import mask_inside
from .modules import Callee
from .scoring import drawn_from_prior, mask_of, score_traces, traces
from .sentences import check_negative
from .sites import is_latent, latents_of, observing_sites, sample_sites
from .supports import (
    describe,
    free_coordinates,
    is_angle,
    is_point_mass,
    is_straight_through,
    of_one_value,
    support_of,
    words_and_cure,
)

CHECKED_AT_ONCE = 128  # data points


def check_data(model: Callee, guide: Callee | None, batches: Iterable[Points]) -> None:
    """Raise a ValueError unless the model observes each data point, alone, and where its distributions can be.

    All data are looked at, for a single one outside the support of its distribution gives a number, too, where
    distributions are not validated. The random stream stays as it was.
    """
    with seeded(0), LookupsChecked():
        for batch in batches:
            for part in batch.split(CHECKED_AT_ONCE):
                if guide is None:
                    model_trace, guide_trace = drawn_from_prior(model, part), poutine.Trace()
                else:
                    model_trace, guide_trace = traces(model, guide, part)
                check_scores(model_trace, guide_trace, len(part))
                _check_left_out(model, model_trace, part)


def check_scores(model_trace: poutine.Trace, guide_trace: poutine.Trace, num_data: int) -> None:
    """Raise a ValueError unless traces of a pair observe each data point, where their distributions can be, score each
    by itself, and count the same latents."""
    if not any(site["is_observed"] and site["mask"] is not False for _, site in sample_sites(model_trace)):
        raise ValueError(
            "Expected a model that observes the data; got no observed site that counts, so that log p(x) would be 0 "
            "for all data. Give the site that stands for them obs=x: pyro.sample('x', ..., obs=x)."
        )
    _check_masks(model_trace, guide_trace)
    observed = observing_sites(model_trace)
    for name, site in observed.items():  # Pyro checks it too, where it validates, and prints the tensor
        if (support := support_of(site["fn"])) is not None:
            check_values(name, support, site["value"], mask_of(name, site))
    if observed and all(site["value"].dim() <= site["fn"].event_dim for site in observed.values()):
        name, site = next(iter(observed.items()))  # torch would repeat it for each data point
        raise ValueError(
            f"Expected a value for each data point at site {name!r}, (N, ...) with an event of shape "
            f"{tuple(site['fn'].event_shape)}; got one of shape {tuple(site['value'].shape)} for all. Give one data "
            f"point as x[None]; a loader has to give batches of them."
        )
    for name, site in observed.items():
        if is_point_mass(site["fn"]) and site["fn"].log_prob(site["value"]).isneginf().any():
            raise ValueError(
                f"Expected site {name!r} to observe what its distribution can draw; got data beside a point mass, "
                f"where there is no probability. Give it some noise, such as dist.Normal(loc, scale)."
            )
    score_traces(model_trace, guide_trace, shape=(num_data,))  # for its errors


def _check_masks(model_trace: poutine.Trace, guide_trace: poutine.Trace) -> None:
    """Raise a ValueError unless model and guide count the same values of each latent."""
    for name, site in latents_of(model_trace).items():
        guided = guide_trace.nodes.get(name)
        if guided is None or is_point_mass(guided["fn"]) or _same_mask(_counted(site), _counted(guided)):
            continue
        raise ValueError(
            f"Expected site {name!r} under the same mask in model and guide; it is not: where only one of the two "
            f"counts a latent, log p(x, z) - log q(z|x) is no weight. Put poutine.mask around the site, or .mask after "
            f"its distribution, in both."
        )


def check_values(name: str, support: Constraint, value: Tensor, mask: Any = None) -> None:
    """Raise a ValueError unless the values of a site lie in a support, those that the mask leaves out excepted."""
    outside = ~support.check(value)
    event, single = value.shape[outside.dim() :], of_one_value(support)
    if mask is not None:
        outside = outside & torch.as_tensor(mask, device=outside.device)
    if not outside.any():
        return
    value = value.expand(outside.shape + event)
    wrong = value[outside].flatten()
    if (each := ~single.check(value)).shape == value.shape:  # which of an event's values, too
        wrong = wrong[each[outside].flatten()]
    numbers = wrong[~wrong.isnan()]  # a support may take NaN for what is missing
    shown = numbers[0] if len(numbers) else wrong[0]
    words, cure = words_and_cure(single)
    if not shown.isfinite():
        cure = "Repair or remove what is not finite; where NaN marks what is missing, use Masked and ZeroImputed."
    raise ValueError(
        f"Expected data in the support of site {name!r}, {words}; got values such as {shown.item():.4g}. {cure}"
    )


def check_latents(model_trace: poutine.Trace, guide_trace: poutine.Trace) -> bool:
    """Raise a ValueError unless each latent's guide lives on the support of its prior; tell whether one is discrete.

    A draw in the right place is not enough: a density on the simplex or on the sphere is one per area there, not per
    volume, so that its ratio to a density over all vectors means nothing.
    """
    discrete = False
    for name, site in sample_sites(model_trace):
        guided = guide_trace.nodes.get(name)
        if not is_latent(site) or guided is None or is_point_mass(guided["fn"]):
            continue
        if is_point_mass(site["fn"]):
            raise ValueError(
                f"Expected a prior with a density at site {name!r}, where the guide draws from one; got a point mass, "
                f"which no draw of the guide hits. Write pyro.deterministic({name!r}, value) for what other latents "
                f"determine, and leave it out of the guide; or give the prior a scale."
            )
        if is_straight_through(site["fn"]) != is_straight_through(guided["fn"]):
            raise ValueError(
                f"Expected draws of site {name!r} that both prior and guide round, or neither; got a straight-through "
                f"distribution in one of them alone, whose draws have another density in the other. Use "
                f"RelaxedOneHotCategoricalStraightThrough (or RelaxedBernoulliStraightThrough) in both."
            )
        prior, guide = support_of(site["fn"]), support_of(guided["fn"])
        if prior is None or guide is None:
            continue
        discrete = discrete or bool(prior.is_discrete)
        shapes = [tuple(site["fn"].event_shape), tuple(guided["fn"].event_shape)]
        sizes = [free_coordinates(prior, site["fn"].event_shape), free_coordinates(guide, guided["fn"].event_shape)]
        if sizes[0] != sizes[1] and all(isinstance(n, int) for n in sizes) and describe(prior) == describe(guide):
            raise ValueError(
                f"Expected as many dimensions of site {name!r} in the guide as in the model, event shape {shapes[0]}; "
                f"got {shapes[1]}. Give both the same: .expand([D]).to_event(1) makes one distribution an event of D."
            )
        if is_angle(site["fn"]) != is_angle(guided["fn"]) and of_one_value(prior) is of_one_value(guide):
            angle, other = ("guide", "prior") if is_angle(guided["fn"]) else ("prior", "guide")
            raise ValueError(
                f"Expected angles of one turn in both prior and guide of site {name!r}; got them in the {angle} alone, "
                f"and numbers of many turns in the {other}. Use VonMises, or numbers without turns, in both."
            )
        if site["value"].isnan().any():
            data = [each["value"] for _, each in sample_sites(model_trace) if each["is_observed"]]
            check_negative(f"draws of site {name!r} that are numbers", [x for x in data if isinstance(x, Tensor)])
        if not (sizes[0] == sizes[1] and prior.check(_possible(site["value"], guided["fn"])).all()):
            raise ValueError(
                f"Expected the guide of site {name!r} on the support of its prior, {describe(prior)}; got "
                f"{describe(guide)}. Use an encoder for this prior (simplex: DirichletEncoder, LogisticNormalEncoder; "
                f"sphere: VonMisesFisherEncoder; one-hot: CategoricalEncoder with as many categories; 0 or 1: "
                f"BernoulliEncoder, with a temperature in both or in neither; any vector: GaussianEncoder), or another "
                f"prior."
            )
    return discrete


def _possible(drawn: Tensor, fn: Any) -> Tensor:
    """All values that a distribution can draw, where it lists them; else those that it has drawn."""
    try:
        return fn.enumerate_support(expand=False) if getattr(fn, "has_enumerate_support", False) else drawn
    except NotImplementedError:  # binomial, of another number for each data point
        return drawn


def _check_left_out(model: Callee, model_trace: poutine.Trace, x: Points) -> None:
    """Raise a ValueError where values of a latent that a mask leaves out change the probability of anything else: with
    such a latent there is no p(x), for it has no prior."""
    masks = {name: found for name, site in latents_of(model_trace).items() if (found := _counted(site)) is not None}
    if not masks:
        return
    other = model_trace.copy()
    for name, counted in masks.items():
        site = model_trace.nodes[name]
        other.nodes[name] = {**site, "value": torch.where(counted, site["value"], site["fn"]())}

    def total(trace: poutine.Trace) -> Tensor:
        with seeded(0), unvalidated():
            again = poutine.trace(poutine.replay(model, trace=trace)).get_trace(x)
            scores = score_traces(again, poutine.Trace(), shape=(len(x),))
        return scores.log_likelihood + scores.log_prior

    if not torch.allclose(total(model_trace), total(other), rtol=1e-5, atol=1e-5, equal_nan=True):
        raise ValueError(
            f"Expected values of {sorted(masks)} that a mask leaves out to change nothing else; got another "
            f"probability of the rest for others: a latent that does not count has no prior, and leaves no p(x). Mask "
            f"what reads it, too, or remove the mask; KL weights are applied by fit(..., kl_weight=...)."
        )


def _counted(site: Any) -> Tensor | None:
    """Which values of a site count, by masks around it and inside; None where all do."""
    counted, around = mask_inside(site["fn"]), site["mask"]
    if around is not None:
        around = torch.as_tensor(around)
        around = around.reshape(around.shape + (1,) * site["fn"].event_dim if around.dim() else ())
        counted = around if counted is None else counted & around
    return None if counted is None or counted.all() else counted


def _same_mask(first: Tensor | None, second: Tensor | None) -> bool:
    if first is None or second is None:
        return first is second
    try:
        return torch.equal(*torch.broadcast_tensors(first, second))
    except RuntimeError:
        return False
