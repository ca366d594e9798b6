"""Data from any pair: unconditional draws, reconstructions, and what chosen latents decode to.

Of a model that observes one site, what comes is a tensor; of one that observes several, a dict of tensors by their
names, or the tensor of the one that ``site`` names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ..arguments.tensors import require_tensor
from ..pairs.batch import taking
from ..pairs.contexts import evaluating, seeded
from ..pairs.enumerated import beside_guide
from ..pairs.inputs import Inputs, as_points
from ..pairs.lookups_private import LookupsChecked
from ..pairs.modules import Callee
from ..pairs.scoring import traces
from ..pairs.sites import latents_of, sample_sites
from ..pairs.supports import support_of
from ..pairs.unconditional import drawn_from, mean_of, observed_site, observed_sites
from .tempered import tempered


def sample(
    model: Callee,
    like: Inputs,
    *,
    temperature: float = 1.0,
    truncation: float | None = None,
    site: str | None = None,
    seed: int | None = 0,
) -> tuple[Any, Any]:
    """Unconditional draws of x, from the very code of the model that is trained.

    Args:
        model: p(x, z).
        like: any tensor of the wanted number and shape of data (N, ...); its values do not count.
        temperature: what the scales of the latents are multiplied by; below 1, draws are more typical, see `tempered`.
        truncation: how many of these scales latents lie from their means at most.
        site: name of the one observed site to give, where there are several.
        seed: of the draws; None for the global stream.

    Returns:
        Draws of x, and the means of the p(x|z) that they were drawn from (a draw where it has none), both (N, ...); of
        several observed sites, both a dict by name.

    Raises:
        ValueError: a site that the model does not observe, a model that reads its argument otherwise than to observe
            it, or a temperature or truncation of latents that are not normal, mixtures of such or transformed ones.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0))
        ...         pyro.sample("x", dist.Normal(z, 0.1), obs=x)
        ...         pyro.sample("y", dist.Bernoulli(logits=z), obs=(x > 0).float())
        >>> draws, means = sample(model, torch.zeros(5))
        >>> sorted(draws), means["y"].shape
        (['x', 'y'], torch.Size([5]))
    """
    points = as_points("like", like, model)
    (model,) = taking(points, model)
    with seeded(seed), evaluating(model, model):
        drawn = drawn_from(tempered(model, temperature=temperature, truncation=truncation), points)
    return _observed(drawn, site, lambda found: found["value"]), _observed(drawn, site, mean_of)


def reconstruct(model: Callee, guide: Callee, x: Inputs, *, site: str | None = None, seed: int | None = 0) -> Any:
    """Mean of p(x|z) (a draw where it has none) for one z drawn from the guide for each data point x (N, ...).

    `site`, several observed sites, and errors are as in `sample`.
    """
    points = as_points("x", x, model, guide)
    model, guide = taking(points, model, guide)
    with seeded(seed), evaluating(model, guide):
        model_trace, _ = traces(beside_guide(model, guide, points), guide, points)
        latents = {name: latent["value"] for name, latent in _latents(model_trace).items()}
        return _observed(drawn_from(model, points, given=latents), site, mean_of)


def encode(model: Callee, guide: Callee, x: Inputs, *, seed: int | None = 0) -> dict[str, Tensor]:
    """The code of each data point: the mean of q at each latent site, by name, top level of a hierarchy first.

    Args:
        model, guide: the pair.
        x: data (N, ...).
        seed: of the draws that deeper levels are conditioned on.

    Returns:
        Means (N, D) of the latent sites, in the model's order; a draw where q has no mean in closed form.
    """
    return {name: code for name, (code, _) in codes_and_supports(model, guide, x, seed=seed).items()}


def encode_with_scales(
    model: Callee, guide: Callee, x: Inputs, *, seed: int | None = 0
) -> dict[str, tuple[Tensor, Tensor | None]]:
    """The code of each data point with its scale: mean and standard deviation of q at each latent site, by name.

    Args:
        model, guide: the pair.
        x: data (N, ...).
        seed: of the draws that deeper levels are conditioned on: theirs are mean and scale of q given those above.

    Returns:
        Means as `encode`, and standard deviations, both (N, ...) with the data points first; None where q has no
        standard deviation in closed form. That of a point, as an autoencoder's, is 0.

    Example:
        >>> from pyro_vae import MLP, Bernoulli, GaussianEncoder, StandardNormal, VAE
        >>> vae = VAE(StandardNormal(2), GaussianEncoder(9, 2), MLP(2, 9), Bernoulli(9))
        >>> mean, scale = encode_with_scales(vae.model, vae.guide, torch.ones(5, 9))["z"]
        >>> mean.shape, (scale > 0).all()
        (torch.Size([5, 2]), tensor(True))
    """
    with seeded(seed):
        guided = _guided(model, guide, x)
    found = {}
    for name, site in guided.items():
        scale = _scale(site)
        found[name] = _by_data_point(site, mean_of(site)), None if scale is None else _by_data_point(site, scale)
    return found


def decode(
    model: Callee, latents: Mapping[str, Tensor], like: Inputs, *, site: str | None = None, seed: int = 0
) -> Any:
    """Mean of p(x|z) at given latents.

    Args:
        model: p(x, z).
        latents: values (N, D) by latent site. Sites not given are drawn from the model, with the same random numbers
            for each of the N, so that the data points differ by the given latents alone.
        like: data (1 or more, ...) that give the shape of one; their values do not count. Other inputs, such as labels,
            do: one for each of the N, or else those of the first for all.
        site: name of the one observed site to give, where there are several.
        seed: of those draws.

    Returns:
        Data (N, ...); of several observed sites, a dict by name.

    Raises:
        ValueError: no latents, a site that the model does not have, or as `sample`.
    """
    points = as_points("like", like, model)
    (model,) = taking(points, model)
    for name, value in latents.items():
        require_tensor(f"latents[{name!r}]", value)
    counts = {len(value) for value in latents.values()}
    if len(counts) != 1:
        raise ValueError(f"Expected the latents of one number of data points; got numbers {sorted(counts)}.")
    (count,) = counts
    rows = torch.arange(count) if len(points) == count else torch.zeros(count, dtype=torch.int64)

    def run(values: Mapping[str, Tensor], rows: Tensor) -> poutine.Trace:
        with seeded(seed):
            return drawn_from(model, points[rows], given=values)

    def mean(trace: poutine.Trace) -> Any:
        return _observed(trace, site, mean_of)

    with evaluating(model, model):
        trace = run(latents, rows)
        sites = {name for name, found in sample_sites(trace) if not found["infer"].get("was_observed")}
        if unknown := sorted(latents.keys() - sites):
            raise ValueError(f"Expected latent sites of the model, {sorted(sites)}; got {unknown}.")
        if latents.keys() == sites:
            return mean(trace)
        each = [({name: value[i : i + 1] for name, value in latents.items()}, rows[i : i + 1]) for i in range(count)]
        return each_site(lambda *parts: torch.cat(parts), *(mean(run(*one)) for one in each))


def _observed(drawn: poutine.Trace, site: str | None, read: Callable[[Any], Tensor]) -> Any:
    """What is read off the one observed site of a trace, or off each of several, by name."""
    sites = observed_sites(drawn)
    if site is None and len(sites) > 1:
        return {name: _by_data_point(found, read(found)) for name, found in sites.items()}
    _, found = observed_site(drawn, site)
    return _by_data_point(found, read(found))


def each_site(change: Callable[..., Tensor], *data: Any) -> Any:
    """A function of tensors, or of those of each site in dicts of tensors."""
    if isinstance(data[0], dict):
        return {name: change(*(part[name] for part in data)) for name in data[0]}
    return change(*data)


def codes_and_supports(
    model: Callee, guide: Callee, x: Inputs, *, seed: int | None = 0
) -> dict[str, tuple[Tensor, Any]]:
    """Mean of q and support of p(z) at each latent site, in the model's order."""
    with seeded(seed):
        guided = _guided(model, guide, x)
    return {name: (mean_of(site), site["support"]) for name, site in guided.items()}


def _guided(model: Callee, guide: Callee, x: Inputs) -> dict[str, dict[str, Any]]:
    """The guide's latent sites in the model's order, each with the support of its prior."""
    points = as_points("x", x, model, guide)
    model, guide = taking(points, model, guide)
    with evaluating(model, guide), LookupsChecked():
        model_trace, guide_trace = traces(beside_guide(model, guide, points), guide, points)
    latents = _latents(model_trace)
    return {name: {**guide_trace.nodes[name], "support": support_of(site["fn"])} for name, site in latents.items()}


def _latents(model_trace: poutine.Trace) -> dict[str, Any]:
    """The latent sites that a guide draws."""
    if latents := latents_of(model_trace):
        return latents
    raise ValueError("Expected latents that the guide draws; got none, so that a data point has no code.")


def _by_data_point(site: Any, value: Tensor) -> Tensor:
    """A value of a site with the data points first: inner plates stand left of that of the data."""
    return value.movedim(-1 - site["fn"].event_dim, 0)


def _scale(site: Any) -> Tensor | None:
    """The standard deviation of a site's distribution; None where it has none in closed form, or where its mean has
    none."""
    try:
        site["fn"].mean  # noqa: B018 (a scale around a draw would be none)
        scale: Tensor = site["fn"].stddev
    except (NotImplementedError, AttributeError):
        return None
    return scale.detach().expand(site["value"].shape)
