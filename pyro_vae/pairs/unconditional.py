"""Draws of all that a model has, its data too; refused where it reads the data it is to draw."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from .batch import Batch, Points, arguments_of, replaced
from .contexts import seeded, unvalidated
from .enumerated import SummedOut
from .modules import Callee
from .scales import check_whole
from .scoring import check_inside, drawn_from_prior
from .sentences import in_a_sentence
from .sites import observing_sites, sample_sites


def drawn_from(model: Callee, like: Points, *, given: Mapping[str, Tensor] | None = None) -> poutine.Trace:
    """A trace of the model's own draws of its latents, but those given, and of its data, for inputs (N, ...) whose
    values do not count.

    Of several inputs, those that a site observes as they are do not count; the others, labels say, count as given.

    Raises:
        ValueError: the values do count: a site has another distribution when the drawn data are the input. A decoder
            that reads earlier values off its argument (teacher forcing), or a covariate packed into it, is one like
            that. Or no draws are there for all data points, or they would be of another model: one with a
            `pyro.factor`, which draws nothing.
    """
    given, model = given or {}, model.function if isinstance(model, SummedOut) else model
    free = poutine.condition(poutine.uncondition(model), data=given)
    drawn = drawn_from_prior(free, like)
    _check_drawn(drawn, given, len(like))
    observed = observed_entries(drawn, like)
    _check_free(free, drawn, given, _others(drawn, like, observed))
    if isinstance(like, Batch) and not set(observed_sites(drawn)) <= set(observed.values()):
        # A site observes something made of an input: such an input is no covariate, so that it must not count.
        for name in [key for key, entry in like.named() if key not in observed and entry is not None]:
            changed = with_changed(like, (name,), made_up)
            with unvalidated():
                again = poutine.trace(free).get_trace(changed)  # not replayed, which would bring the old observations
            sites = observed_sites(drawn)
            if any(not torch.equal(s["infer"]["obs"], again.nodes[n]["infer"]["obs"]) for n, s in sites.items()):
                _check_free(free, drawn, given, changed)
    return drawn


def _check_drawn(drawn: poutine.Trace, given: Mapping[str, Tensor], num_data: int) -> None:
    sites = dict(sample_sites(drawn))
    for name, site in sites.items():
        if isinstance(site["fn"], dist.Unit):
            latents = {n for n, other in sites.items() if not other["infer"].get("was_observed")}
            if latents - given.keys() and site["fn"].log_factor.any():
                raise ValueError(
                    f"Expected a model that can be drawn from; got the pyro.factor {name!r}, which changes the "
                    f"probability of latents and data but draws none: the draws would be those of a model without it. "
                    f"Write it as a distribution, pyro.sample(..., obs=...), or draw given all latents, by decode."
                )
        elif site["infer"].get("was_observed"):
            check_inside(name, site, num_data)
    check_whole(drawn)


def observed_entries(drawn: poutine.Trace, like: Points) -> dict[str, str]:
    """Which inputs are observed as they are: the name of the site for that of the entry, "[0]" for a single tensor."""
    return entries_of({name: site["infer"]["obs"] for name, site in observed_sites(drawn).items()}, like)


def entries_of(observations: Mapping[str, Any], like: Points) -> dict[str, str]:
    """Which inputs are observed as they are, by these observations of sites."""
    entries = dict(like.named()) if isinstance(like, Batch) else {"[0]": like}
    found: dict[str, str] = {}
    for same in (_is_same_memory, _has_same_values):  # first what is the same, then what is equal
        for (name, observation), (key, entry) in itertools.product(observations.items(), entries.items()):
            if entry is not None and key not in found and name not in found.values() and same(observation, entry):
                found[key] = name
    return found


def conditions_of(model: Callee, guide: Callee | None, x: Points) -> tuple[str, ...]:
    """The inputs that a density of the model's data is conditional on, such as labels: the names of the model's
    arguments that no site observes.

    An input of a site's name, one that a site observes as it is, and one by which a site's observation changes are
    data. A single input is. It is tried on a few data points x, whose latents the prior draws without a guide.
    """
    if not isinstance(x, Batch):
        return ()
    model = model.function if isinstance(model, SummedOut) else model
    guide = guide.function if isinstance(guide, SummedOut) else guide
    with seeded(0):
        latents = poutine.trace(model if guide is None else guide).get_trace(x)
        sites = _observed_values(model, latents, x)
        as_they_are, found = entries_of(sites, x), []
        for argument, (key, entry) in zip(arguments_of(model, x), x.named(), strict=True):
            if entry is None or argument in sites or key in as_they_are:
                continue
            changed = with_changed(x, (key,), made_up if torch.equal(_rolled(entry), entry) else _rolled)
            with suppress(Exception), unvalidated():  # a pair may stumble over it, which tells nothing
                again = _observed_values(model, latents, changed)
                if any(not torch.equal(value, again[name]) for name, value in sites.items()):
                    continue
            found.append(argument)
    return tuple(found)


def _observed_values(model: Callee, latents: poutine.Trace, x: Points) -> dict[str, Tensor]:
    with seeded(0):
        trace = poutine.trace(poutine.replay(model, trace=latents)).get_trace(x)
    return {name: site["value"] for name, site in observing_sites(trace).items()}


def replaced_by_draws(drawn: poutine.Trace, like: Points, observed: Mapping[str, str]) -> Points:
    """The inputs with the drawn values of their sites in place of those that are observed."""

    def value(name: str, entry: Tensor) -> Tensor:
        return drawn.nodes[observed[name]]["value"].to(entry.dtype) if name in observed else entry

    return replaced(like, value)


def _is_same_memory(value: Any, entry: Tensor) -> bool:
    return value.shape == entry.shape and value.dtype == entry.dtype and value.data_ptr() == entry.data_ptr()


def _has_same_values(value: Any, entry: Tensor) -> bool:
    return value.shape == entry.shape and torch.equal(value.to(entry.dtype), entry)


def _check_free(free: Callee, drawn: poutine.Trace, given: Mapping[str, Tensor], other: Points) -> None:
    """Raise a ValueError where a site has another distribution for other inputs."""
    with in_a_sentence(), unvalidated():  # under another distribution, what was drawn may lie outside the support
        again = poutine.trace(poutine.replay(free, trace=drawn)).get_trace(other)
        sites = [(name, site) for name, site in sample_sites(drawn) if name not in given]
        log_probs = [again.nodes[name]["fn"].log_prob(site["value"]) for name, site in sites]
    for (name, site), log_prob in zip(sites, log_probs, strict=True):
        if not torch.allclose(site["fn"].log_prob(site["value"]), log_prob, rtol=1e-5, atol=1e-5, equal_nan=True):
            raise ValueError(
                f"Expected a model that reads nothing off its argument before it is observed; got another distribution "
                f"at site {name!r} for other values of it: nothing can be drawn that does not depend on them. Make a "
                f"distribution whose sample() draws one value after the other and whose log_prob reads the earlier "
                f"ones off the observed value, as the PixelCNN likelihood is; give a covariate as an input of its own."
            )


def _others(drawn: poutine.Trace, like: Points, observed: Mapping[str, str]) -> Points:
    """Other values for the inputs that are observed: those drawn for them; for a single one that is not observed as it
    is, those of a site of its shape, else made up."""
    other = replaced_by_draws(drawn, like, observed)
    if isinstance(like, Batch) or (observed and not torch.equal(other, like)):  # type: ignore[arg-type]
        return other
    for site in observed_sites(drawn).values():
        value = site["value"]
        if value.shape == like.shape and not torch.equal(value.to(like.dtype), like):
            return value.to(like.dtype)
    return made_up(like)


def with_changed(like: Points, names: Container[str], change: Callable[[Tensor], Tensor]) -> Points:
    """The inputs with those of some names changed."""
    return replaced(like, lambda name, entry: change(entry) if name in names else entry)


def _rolled(entry: Tensor) -> Tensor:
    return entry.roll(1, 0)


def made_up(entry: Tensor) -> Tensor:
    """Values that are not those of an entry, of its shape and kind."""
    if entry.is_floating_point():
        return torch.rand(entry.shape, dtype=entry.dtype, device=entry.device)
    return torch.where(entry == 0, torch.ones_like(entry), torch.zeros_like(entry))


def observed_sites(drawn: poutine.Trace) -> dict[str, Any]:
    """The sites that the model observes, by name, of a trace in which they are drawn; no factors, which have no
    value."""
    sites = sample_sites(drawn)
    return {n: site for n, site in sites if site["infer"].get("was_observed") and not isinstance(site["fn"], dist.Unit)}


def observed_site(drawn: poutine.Trace, name: str | None = None) -> tuple[str, Any]:
    """The name and the one observed site of such a trace, or that of the given name where there are several."""
    sites = observed_sites(drawn)
    if not sites:
        raise ValueError("Expected a model with an observed site, pyro.sample(..., obs=x); got none.")
    if name is None and len(sites) > 1:
        raise ValueError(
            f"Expected a model with one observed site; got {len(sites)}: {sorted(sites)}. sample, reconstruct and "
            f"decode give all of them, or one: site={next(iter(sites))!r}."
        )
    if name is not None and name not in sites:
        raise ValueError(f"Expected site to be one that the model observes, {sorted(sites)}; got {name!r}.")
    name = next(iter(sites)) if name is None else name
    return name, sites[name]


def mean_of(site: Any) -> Tensor:
    """The mean of a site's distribution; the value that was drawn where it has none in closed form."""
    try:
        mean: Tensor = site["fn"].mean
    except NotImplementedError:
        mean = site["value"]
    return mean.detach().expand(site["value"].shape)  # it may be a parameter itself
