"""Discrete sites that are summed over instead of drawn: Pyro's marks for enumeration, in all that a pair is used for.

To estimates an enumerated site is as if it were not there. The latents of such a pair are its other latent sites z;
with the enumerated ones y summed out, its densities are

    p(x, z) = sum_y p(x, y, z),    p(z) = sum_y p(y, z),    q(z|x) = sum_y q(y, z|x),

each by Pyro's tensor variable elimination, chains of `pyro.markov` included.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from .batch import Points
from .contexts import seeded, unvalidated
from .enumeration_private import summed_log_prob
from .lookups_private import LookupsChecked
from .modules import Callee
from .scales import check_whole
from .scoring import check_observed, log_prob_in_plate, site_log_prob
from .sentences import in_a_sentence
from .sites import PARTICLES, SUMMED_OUT, counts, is_latent, latents_of, sample_sites

TRIED = 8  # data points on which a pair's enumeration is tried
CHECKED_ALONE = 3  # of them, each by itself


class SummedOut:
    """A model or guide whose enumerated sites are not seen from outside, and whose trace knows its scores without them.

    It runs twice: plainly, as Pyro does where nothing enumerates, so that its other latents are drawn, replayed or
    conditioned as ever and have their plain shapes; and, at these latents, with all states of its enumerated sites.
    """

    def __init__(self, function: Callee, names: Iterable[str]) -> None:
        functools.update_wrapper(self, function)
        self.function, self.names = function, frozenset(names)

    def __call__(self, x: Points) -> Any:
        result, drawn = self._drawn(x)
        pyro.deterministic(SUMMED_OUT, self._log_probs(x, drawn))
        return result

    def check(self, x: Points) -> None:
        """Raise a ValueError unless all states together are scored as each by itself, at what is drawn now."""
        with poutine.block():
            _, drawn = self._drawn(x)
            check_whole(drawn)
            values = {name: drawn.nodes[name]["value"] for name in self.names & drawn.nodes.keys()}
            for name in values:
                _check_mark(name, drawn.nodes[name])
            alone: Any = torch.zeros(())
            for name, site in sample_sites(drawn):
                alone = alone + site_log_prob(name, {**site, "mask": None} if name in values else site, (len(x),))
            trace = self._enumerated(x, drawn)
            together = self._summed(trace, self._factors(trace, x), values)
        if not torch.allclose(alone.expand_as(together), together, rtol=1e-4, atol=1e-3, equal_nan=True):
            raise ValueError(
                f"Expected sites {sorted(self.names)} to be scored in all their states at once as in one; got other "
                f"log-probabilities. States stand in a dimension of their own, left of all plates: replace Python "
                f"branches and sums over values by torch.where and pyro.ops.indexing.Vindex, or unmark the sites."
            )

    def _drawn(self, x: Points) -> tuple[Any, poutine.Trace]:
        """The result of a plain run, and its trace, enumerated sites included."""
        with poutine.block(hide=[*self.names]), poutine.trace() as plain:
            result = self.function(x)
        return result, plain.trace

    def _log_probs(self, x: Points, drawn: poutine.Trace) -> Tensor:
        """Of the latent and of the observed sites, enumerated ones summed out: (2, B), or (2, K, B) with particles."""
        check_whole(drawn)
        trace, sites = self._enumerated(x, drawn), dict(sample_sites(drawn))
        log_probs = self._factors(trace, x)
        whole = self._summed(trace, log_probs)
        latents = {name: log_probs[name] for name, site in sites.items() if is_latent(site)}
        if latents.keys() <= self.names:  # the probabilities of all states, 1
            latent = torch.zeros_like(whole)
        elif len(latents) == len(sites):
            latent = whole
        else:
            latent = self._summed(trace, latents)
        # Where latents have density 0 nothing is left to divide by.
        return torch.stack([latent, torch.where(latent.isneginf(), 0.0, whole - latent)])

    def _enumerated(self, x: Points, drawn: poutine.Trace) -> poutine.Trace:
        """The trace with all states of the enumerated sites, at the other values drawn."""
        others = {
            name: site["value"]
            for name, site in drawn.nodes.items()
            if name not in self.names and (counts(site) or (site["type"] == "sample" and site_is_subsample(site)))
        }
        marked = poutine.infer_config(
            poutine.condition(self.function, data=others),
            lambda site: {"enumerate": "parallel" if site["name"] in self.names else None},
        )
        enumerated = poutine.enum(marked, first_available_dim=-1 - plate_nesting(drawn))
        try:
            with poutine.block(), in_a_sentence():
                return poutine.trace(enumerated).get_trace(x)
        except (RuntimeError, IndexError) as error:  # of a pair that does not broadcast over states
            raise ValueError(
                f"Expected a pair that takes all states of sites {sorted(self.names)} at once, in a dimension of their "
                f"own left of all plates; got {type(error).__name__}: {str(error).splitlines()[0]}. Replace Python "
                f"branches on values by torch.where, indexing by pyro.ops.indexing.Vindex, and expand what is "
                f"concatenated with them."
            ) from error

    def _factors(self, trace: poutine.Trace, x: Points) -> dict[str, Tensor]:
        return {name: log_prob_in_plate(name, site, len(x)) for name, site in sample_sites(trace)}

    def _summed(
        self, trace: poutine.Trace, log_probs: dict[str, Tensor], drawn: dict[str, Tensor] | None = None
    ) -> Tensor:
        """Log-probability (B,) or (K, B) of the given factors over all states, or at those drawn."""
        frames = {f for name in log_probs for f in trace.nodes[name]["cond_indep_stack"] if f.vectorized}
        kept = sorted((f for f in frames if f.dim == -1 or f.name == PARTICLES), key=lambda f: f.dim)
        try:
            total = summed_log_prob(trace, log_probs, {f.name: f.size for f in kept}, drawn)
        except NotImplementedError:
            raise ValueError(
                f"Expected enumerated sites {sorted(self.names)} whose sum is one of few terms, plates within plates; "
                f"got sites that depend on several plates which are not inside each other. Loop over one of them."
            ) from None
        return total.expand([f.size for f in kept])


def summed_out(model: Callee, guide: Callee, x: Points) -> tuple[Callee, Callee]:
    """The pair with its sites marked for enumeration summed out: everything that takes a pair then takes z alone. It is
    tried on a few data points x (B, ...).

    A site is enumerated where the guide marks it, ``infer={"enumerate": "parallel"}`` or `pyro.infer.config_enumerate`,
    or where the model marks one that the guide does not have; observed sites are not. The pair itself is returned where
    there are none.

    Raises:
        ValueError: a mark that cannot be followed, a site that the guide alone has, or a pair that does not score all
            states at once as it scores one.

    Reference:
        Obermeyer and others 2019, "Tensor variable elimination for plated factor graphs".
    """
    if isinstance(model, SummedOut):
        return model, guide
    x = x[:TRIED]
    with seeded(0):
        found = enumeration_of(model, guide, x)
        if not found.in_model:
            return model, guide
        pair = SummedOut(model, found.in_model), SummedOut(guide, found.in_guide) if found.in_guide else guide
        for function in pair:
            if isinstance(function, SummedOut):
                function.check(x)
                for point in x[:CHECKED_ALONE].split(1):  # a branch may look at all values of a batch
                    with suppress(RuntimeError):  # a pair that takes no single data point is not refused for that here
                        function.check(point)
    return pair


def beside_guide(model: Callee, guide: Callee, x: Points) -> Callee:
    """The model with those enumerated sites summed out that the guide does not have: what a guide's draws decode."""
    found = enumeration_of(model, guide, x[:TRIED])
    alone = found.in_model - found.in_guide
    return SummedOut(model, alone) if alone else model


class Enumeration(NamedTuple):
    """What a pair sums over."""

    in_model: set[str]  # names of the enumerated sites; the model has all of them
    in_guide: set[str]  # those that the guide has, too
    plate_nesting: int  # how many dimensions plates take, ``max_plate_nesting`` of Pyro's objectives


def enumeration_of(model: Callee, guide: Callee, x: Points) -> Enumeration:
    """What a pair sums over, as its sites are marked for data x (B, ...)."""
    with in_a_sentence(), seeded(0), unvalidated(), LookupsChecked():  # what does not fit is said by the checks
        guide_trace = poutine.trace(guide).get_trace(x)
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(x)
    check_observed(model_trace, guide_trace)
    guided = {name for name, site in latents_of(guide_trace).items() if site["infer"].get("enumerate")}
    if alone := sorted(guided - model_trace.nodes.keys()):
        raise ValueError(
            f"Expected enumerated sites of the guide in the model, too; the guide alone has {alone}. Use a "
            f"MixtureSameFamily for a guide that is a mixture."
        )
    models = {name for name, site in latents_of(model_trace).items() if site["infer"].get("enumerate")}
    in_model = models - (guide_trace.nodes.keys() - guided) | guided
    return Enumeration(in_model, guided, max(plate_nesting(model_trace), plate_nesting(guide_trace)))


def plate_nesting(trace: poutine.Trace) -> int:
    """How many dimensions, from the right, the plates of a trace take."""
    frames = [frame for _, site in sample_sites(trace) for frame in site["cond_indep_stack"] if frame.vectorized]
    return max((-frame.dim for frame in frames), default=1)


def _check_mark(name: str, site: Any) -> None:
    """Raise a ValueError for marks other than those of an exact and parallel sum."""
    mark, samples = site["infer"].get("enumerate"), site["infer"].get("num_samples")
    if mark == "sequential":
        raise ValueError(
            f"Expected infer={{'enumerate': 'parallel'}} at site {name!r}; got 'sequential', which runs the pair once "
            f"for each state of all data points together."
        )
    if samples is not None:
        raise ValueError(
            f"Expected an exact sum over the states of site {name!r}; got num_samples={samples}. Leave num_samples out "
            f"of the mark, or remove the mark: unmarked sites are drawn."
        )
    fn = site["fn"]
    if isinstance(fn, dist.MaskedDistribution):
        raise ValueError(
            f"Expected an enumerated site {name!r} whose states have probabilities that sum to 1; got a distribution "
            f"with a mask inside. Put poutine.mask around the site instead of .mask(...) after its distribution."
        )
    try:
        known = bool(getattr(fn, "has_enumerate_support", False)) and fn.enumerate_support(expand=False) is not None
    except (NotImplementedError, ValueError):
        known = False
    if not known:
        raise ValueError(
            f"Expected a distribution with few states at the enumerated site {name!r}; got {type(fn).__name__} of "
            f"event shape {tuple(fn.event_shape)}, whose states are not listed. Remove the mark, or, for several "
            f"discrete values, put them in a plate of their own instead of an event."
        )
