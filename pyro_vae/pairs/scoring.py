"""Log-probabilities of a pair, by data point."""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor

from .batch import Points, arguments_of
from .modules import Callee
from .scales import whole_of_part
from .sentences import in_a_sentence, unfinished
from .sites import SUMMED_OUT, is_latent, is_summed_out, latents_of, sample_sites


@dataclass(frozen=True)
class Scores:
    """Log-probabilities of one draw of the latents, in nats, each (B,) per data point or (K, B) with K particles."""

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


def traces(model: Callee, guide: Callee, x: Points) -> tuple[poutine.Trace, poutine.Trace]:
    """Trace the guide and the model replayed against it on data x (B, ...), and check that they fit together.

    Raises:
        ValueError: a latent site that only one of the two has, or what Pyro refuses, in a sentence.
    """
    with in_a_sentence(x):
        guide_trace = poutine.trace(guide).get_trace(x)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(x)
    check_observed(model_trace, guide_trace)
    guided = latents_of(guide_trace)
    latents = {name: site for name, site in sample_sites(model_trace) if is_latent(site)}
    if missing := sorted(latents.keys() - guided.keys()):
        if masked := [name for name in missing if f"{name.removesuffix('_unobserved')}_observed" in model_trace]:
            raise ValueError(
                f"Expected the guide to sample the values that obs_mask leaves out, site {masked[0]!r}; it does not. "
                f"Sample it there under the opposite mask: with poutine.mask(mask=~mask): "
                f"pyro.sample({masked[0]!r}, ...)."
            )
        if data := _standing_for_data(model, model_trace, x, missing):
            site, argument = data
            raise ValueError(
                f"Expected the model to observe the data; got site {site!r} without obs=. Write pyro.sample({site!r}, "
                f"..., obs={argument})."
            )
        cure = "Sample them in the guide"
        if discrete := [name for name in missing if latents[name]["fn"].has_enumerate_support]:
            cure = f"Sum {discrete[0]!r} out by infer={{'enumerate': 'parallel'}} at its site, sample it in the guide"
        raise ValueError(
            f"Expected the guide to sample every latent site of the model; it misses {missing}. {cure}, or, where a "
            f"site stands for the data, observe it: pyro.sample({missing[0]!r}, ..., obs=x)."
        )
    if surplus := sorted(guided.keys() - {name for name, _ in sample_sites(model_trace)}):
        raise ValueError(
            f"Expected every site of the guide in the model; the guide alone has {surplus}. Remove it, or mark it "
            f"with infer={{'is_auxiliary': True}}."
        )
    return model_trace, guide_trace


def _standing_for_data(
    model: Callee, model_trace: poutine.Trace, x: Points, drawn: list[str]
) -> tuple[str, str] | None:
    """Of the sites that the model draws, one that should observe data, and the argument with these: it has the name of
    an argument, or, where the model observes nothing at all, the shape of one."""
    named = {name: entry for name, entry in arguments_of(model, x).items() if entry is not None}
    for name in drawn:
        if name in named:
            return name, name
    if not any(site["is_observed"] for _, site in sample_sites(model_trace)):
        for name in drawn:
            shape = model_trace.nodes[name]["value"].shape
            if alike := [argument for argument, entry in named.items() if entry.shape == shape]:
                return name, alike[0]
    return None


def check_observed(model_trace: poutine.Trace, guide_trace: poutine.Trace) -> None:
    """Raise a ValueError where the guide draws what the model observes: its density would count, and not the draw."""
    observed = {name for name, site in sample_sites(model_trace) if site["is_observed"]}
    if both := sorted(observed & latents_of(guide_trace).keys()):
        raise ValueError(
            f"Expected the guide to leave out what the model observes; it draws {both}. Draw a label in the guide "
            f"where it is not given, and nowhere else: if y is None."
        )


def drawn_from_prior(model: Callee, x: Points) -> poutine.Trace:
    """Trace the model with its latents drawn from their priors; what refuses to be drawn is said in a sentence."""
    try:
        with in_a_sentence():
            try:
                return poutine.trace(model).get_trace(x)
            except NotImplementedError as error:
                if (found := unfinished(error)) is None or found[1] not in ("sample", "rsample"):
                    raise
                first = str(error).partition("\n")[0]  # the rest are shapes, added by Pyro
                raise ValueError(
                    f"Expected a prior that can be drawn from; got {first or 'one that cannot'}. Give the model one "
                    f"that can, or, for annealing, use start='guide'; an autoencoder's flat prior leaves no log p(x) "
                    f"at all."
                ) from error
    except AssertionError as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        if not Path(where.filename).is_relative_to(Path(pyro.__file__).parent):
            raise
        raise ValueError(
            f"Expected distributions that can be drawn from; got one that asserts {where.line!r}. A hidden Markov "
            f"model needs its duration, dist.DiscreteHMM(..., duration=T)."
        ) from error


def score(model: Callee, guide: Callee, x: Points) -> Scores:
    """Draw latents from the guide and score them, one number for each data point x (B, ...).

    Scales (KL weights, subsampling) are left out; masks count.

    Raises:
        ValueError: model and guide do not fit, or a site lies outside the plate over the data, so that log p(x) of one
            data point is not defined by it.
    """
    return score_traces(*traces(model, guide, x), shape=(len(x),))


def score_traces(model_trace: poutine.Trace, guide_trace: poutine.Trace, *, shape: tuple[int, ...]) -> Scores:
    """`Scores` of given traces, each term of the given shape (B,) or (K, B)."""
    # A number of the CPU in a recorded graph would keep it from being captured on a GPU.
    zero = torch.zeros((), device=next((site["value"].device for _, site in sample_sites(model_trace)), None))
    log_prior, log_likelihood = _log_probs(model_trace, zero, shape)
    log_guide, given = _log_probs(guide_trace, zero, shape, factors=False)  # a classifier's loss, say, only trains it
    if not is_summed_out(guide_trace):  # a guide that is conditioned on draws from elsewhere scores them
        log_guide = log_guide + given
    return Scores(*(term.expand(shape) for term in (log_likelihood, log_prior, log_guide)))


def _log_probs(
    trace: poutine.Trace, zero: Tensor, shape: tuple[int, ...], *, factors: bool = True
) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the latent and of the observed sites of a trace, with its factors or without."""
    if is_summed_out(trace):
        latent, observed = trace.nodes[SUMMED_OUT]["value"]
        return latent, observed
    latent = observed = zero
    for name, site in sample_sites(trace):
        if isinstance(site["fn"], dist.Unit) and not factors:
            continue
        term = site_log_prob(name, site, shape)
        if is_latent(site):
            latent = latent + term
        else:
            observed = observed + term
    return latent, observed


UNSIZED = -1  # what Pyro calls the size of pyro.plate("data"), which holds any number


def check_inside(name: str, site: Any, num_data: int) -> None:
    """Raise a ValueError unless a site stands in a plate over all data points, at dim -1."""
    frame = next((frame for frame in site["cond_indep_stack"] if frame.vectorized and frame.dim == -1), None)
    if frame is not None and frame.size in (num_data, UNSIZED):
        return
    if frame is not None and frame.size < num_data <= frame.full_size:
        raise ValueError(
            f"Expected the plate over the data to hold all {num_data} data points that the pair is called with; got "
            f"{frame.size} at site {name!r}. Leave out subsample_size: fit takes batches itself (batch_size), and the "
            f"plate is pyro.plate('data', len(x), dim=-1)."
        )
    if frame is not None:
        raise ValueError(
            f"Expected the plate over the data at dim -1, of the size of the batch, {num_data}; got "
            f"{frame.name!r} of size {frame.size} around site {name!r}. Write pyro.plate('data', len(x), dim=-1), and "
            f"other plates inside it at dim=-2."
        )
    raise ValueError(
        f"Expected site {name!r} inside the plate over the data, pyro.plate('data', len(x), dim=-1); it is outside, so "
        f"log p(x) of one data point is not defined. For a number that all data points share, use pyro.param instead "
        f"of pyro.sample, or, with a value of it, poutine.block(poutine.condition(model, {{{name!r}: value}}), "
        f"hide=[{name!r}]), and no such site in the guide."
    )


def site_log_prob(name: str, site: Any, shape: tuple[int, ...]) -> Tensor:
    """Log-probability of one site for each data point, masked, without scales, of the given shape (B,) or (K, B).

    A plate inside that of the data counts as a whole where it visits a part: the part's sum times whole / part.

    Raises:
        ValueError: the site lies outside the plate over the data, its values are smaller than an event of its
            distribution, or its log-probability has a dimension that no plate holds.
    """
    log_prob = log_prob_in_plate(name, site, shape[-1])
    sizes = plate_sizes(site) | {-1: shape[-1]}  # of a plate without a size, too
    if any(size not in (1, sizes.get(dim - log_prob.dim())) for dim, size in enumerate(log_prob.shape)):
        raise dimension_without_plate(name, sizes, log_prob)
    if (mask := mask_of(name, site)) is not None:
        mask = torch.as_tensor(mask, device=log_prob.device)
        log_prob = torch.where(mask, log_prob, 0.0)
    if log_prob.dim() > len(shape):  # inner plates of the model, left of the data
        log_prob = log_prob.sum(tuple(range(log_prob.dim() - len(shape))))
    return (log_prob * whole_of_part(site)).expand(shape)


def mask_of(name: str, site: Any) -> Any:
    """The mask around a site, each of its dimensions held by a plate: None, a truth value, or a tensor."""
    mask, sizes = site["mask"], plate_sizes(site)
    shape = mask.shape if isinstance(mask, Tensor) else ()
    if any(size != 1 and sizes.get(dim - len(shape)) not in (size, UNSIZED) for dim, size in enumerate(shape)):
        raise ValueError(
            f"Expected a mask with a dimension for each plate around site {name!r}, and none for its event; got "
            f"{tuple(shape)}. To leave out single values of a data point, mask the distribution before .to_event, as "
            f"dist.Normal(loc, scale).mask(known).to_event(1), or use Masked(likelihood)."
        )
    return mask


def plate_sizes(site: Any) -> dict[int, int]:
    """The size of each plate around a site, by dimension."""
    return {frame.dim: frame.size for frame in site["cond_indep_stack"] if frame.vectorized}


def log_prob_in_plate(name: str, site: Any, num_data: int) -> Tensor:
    """Log-probability of a site's values, of any dimensions, without mask and scale: of one inside the plate over the
    data, whose values are events of its distribution, of enough bits, or a ValueError."""
    check_inside(name, site, num_data)
    fn, value = site["fn"], site["value"]
    with in_a_sentence():
        event = value.shape[value.dim() - fn.event_dim :]
    if any(size not in (1, given) for size, given in zip(fn.event_shape, event, strict=True)):
        raise ValueError(
            f"Expected values of event shape {tuple(fn.event_shape)} at site {name!r}; got {tuple(event)}, the end of "
            f"{tuple(value.shape)}. Give data and distribution the same shape."
        )
    with in_a_sentence():
        log_prob: Tensor = fn.log_prob(value, *site["args"], **site["kwargs"])
    if log_prob.dtype in (torch.float16, torch.bfloat16):
        raise ValueError(
            f"Expected log-probabilities of 32 bits or more, whose sums are right to a thousandth of a nat; got "
            f"{log_prob.dtype} at site {name!r}. Give distributions .float() of what networks of fewer bits return, or "
            f"use fit(..., precision='bf16'), which takes matrix products alone in fewer."
        )
    return log_prob


def dimension_without_plate(name: str, sizes: dict[int, int], log_prob: Tensor) -> ValueError:
    """The error of a log-probability with a dimension that no plate, of sizes by dimension, holds."""
    expected = tuple(sizes.get(dim, 1) for dim in range(min(sizes), 0))
    return ValueError(
        f"Expected a log-probability of shape {expected} at site {name!r}, one dimension for each plate; got "
        f"{tuple(log_prob.shape)}. Give dimensions of one data point to the event by .to_event(1), or, where the "
        f"data have a dimension more than the distribution, take it away, x.squeeze(-1), or add it there."
    )
