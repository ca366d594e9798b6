"""log p(x_A | x_B) of a split of the observed sites: the difference of two estimates."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Sequence

import torch
from pyro import poutine
from torch import Tensor

from ..pairs.batch import Points, taking
from ..pairs.checks import CHECKED_AT_ONCE
from ..pairs.contexts import evaluating, seeded, unvalidated
from ..pairs.modules import Callee
from ..pairs.scoring import site_log_prob
from ..pairs.sentences import in_a_sentence
from ..pairs.sites import counted_sites, measure_of, sample_sites
from ..pairs.unconditional import entries_of, made_up, with_changed
from .doubts import HeavyTail
from .result import LogMarginal

APART = 2**61  # from the seed of one estimate to that of the other: their errors are independent


def conditional(
    estimate: Callable[..., LogMarginal], model: Callee, guide: Callee, x: Points, given: Sequence[str], *, seed: int
) -> LogMarginal:
    """The estimate of log p(x_A, x_B) less that of log p(x_B), x_B the observed sites of the names given and x_A the
    others: of a model, a guide, data x (N, ...) and a seed ``estimate`` makes each.

    Raises:
        ValueError: ``given`` is none of the observed sites, or all; or what cannot be left out: `check_separate`.
    """
    p, q = taking(x, model, guide)
    with seeded(0), evaluating(p, q):
        observed = counted_sites(_drawn(p, q, x[:3]), len(x[:3]))
        names = list(given)
        if isinstance(given, str) or not 0 < len({*names} & {*observed}) == len(names) < len(observed):
            raise ValueError(
                f"Expected given to be a list of some of the sites that the model observes, {list(observed)}, and not "
                f"all; got {given!r}."
            )
        hidden = [name for name in observed if name not in names]
        measure = check_separate(p, q, x, hidden)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeavyTail)  # of an estimate that nobody asked for by itself
        joint = estimate(model, guide, x, seed=seed)
        marginal = estimate(poutine.block(model, hide=hidden), guide, x, seed=(seed + APART) % 2**63)
    return dataclasses.replace(
        difference(joint, marginal),
        measure=measure,
        sites={name: joint.sites[name] for name in hidden},
        given={name: joint.sites[name] for name in given},
    )


def difference(joint: LogMarginal, marginal: LogMarginal) -> LogMarginal:
    """The first estimate less the second, independent one of a part of the same values; a bound on neither side."""
    details = {"log_joint": joint.log_prob, "log_given": marginal.log_prob}
    details["jackknife"] = joint.jackknife - marginal.jackknife
    if "acceptance" in joint.details:  # of annealed chains
        details["acceptance"] = torch.fmin(joint.details["acceptance"], marginal.details["acceptance"])
    return dataclasses.replace(
        joint,
        log_prob=joint.log_prob - marginal.log_prob,
        standard_error=torch.hypot(joint.standard_error, marginal.standard_error),
        ess=torch.minimum(joint.ess, marginal.ess),
        khat=torch.fmax(joint.khat, marginal.khat),
        num_samples=torch.maximum(joint.num_samples, marginal.num_samples),
        bound="none",
        log_levels={},
        shared_error=math.hypot(joint.shared_error, marginal.shared_error),
        details=details,
    )


def _drawn(model: Callee, guide: Callee, x: Points) -> poutine.Trace:
    """The model's trace at draws of the guide; latents that the model alone has, for they are summed over, are its own
    draws."""
    with in_a_sentence():
        guide_trace = poutine.trace(guide).get_trace(x)
        return poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace(x)


def check_separate(model: Callee, guide: Callee, x: Points, hidden: Sequence[str]) -> str:
    """Raise a ValueError unless observed sites can be left out of a model, so that what is left is p of the others.

    That is so where nothing else depends on their values. The inputs that they observe change places among the data
    points, or are changed, and all other sites, at the same latents, must have the same log-probabilities.

    Returns:
        The measure of the sites that are left out.
    """
    for part in x.split(CHECKED_AT_ONCE):
        model_trace = _drawn(model, guide, part)
        sites = dict(sample_sites(model_trace))
        found = entries_of({name: sites[name]["value"] for name in hidden}, part)
        if lost := sorted(set(hidden) - set(found.values())):
            raise ValueError(
                f"Expected site {lost[0]!r}, which is not given, to observe an input of the model as it is, so that it "
                f"can be told whether the others depend on it. Give each site an input of its own: model(a, b), called "
                f"with (a, b)."
            )
        same_latents = poutine.replay(model, trace=model_trace)
        for changed in (with_changed(part, found, change) for change in CHANGES):
            if name := _another(model_trace, same_latents, changed, hidden):
                raise ValueError(
                    f"Expected all other sites to have the same distribution whatever {list(hidden)} is; got "
                    f"another at site {name!r}, which reads it: p of the sites given is no part of this model. "
                    f"Give {list(hidden)} and estimate the others, or write the model the other way round."
                )
    return measure_of(model_trace, hidden)


def _another(before: poutine.Trace, model: Callee, x: Points, hidden: Sequence[str]) -> str:
    """The first site of those not hidden that has another log-probability in the model called with x; "" for none."""
    with unvalidated():  # what is not data may lie anywhere
        after, shape = poutine.trace(model).get_trace(x), (len(x),)
        for name, site in sample_sites(before):
            if name not in hidden:
                terms = site_log_prob(name, site, shape), site_log_prob(name, after.nodes[name], shape)
                if not torch.allclose(*terms, rtol=1e-5, atol=1e-5, equal_nan=True):
                    return name
    return ""


# What takes the place of values that must not count: those of another data point, and, for one alone, others.
CHANGES: tuple[Callable[[Tensor], Tensor], ...] = (
    lambda entry: entry.roll(1, 0),
    made_up,
    lambda entry: -entry if entry.is_floating_point() else entry,
)
