"""log p(x) of any model/guide pair, by importance sampling: from the guide, or from what fits a data point better."""

from __future__ import annotations

import dataclasses
import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch

from ..arguments.at_least import at_least
from ..output.progress import progress_bar
from ..pairs.batch import taking
from ..pairs.contexts import evaluating, seeded
from ..pairs.densities import check_guide
from ..pairs.enumerated import summed_out
from ..pairs.inputs import Inputs, as_points
from ..pairs.modules import Callee, modules_of
from ..pairs.scoring import traces
from ..pairs.sites import counted_sites, is_summed_out, latents_of, measure_of
from ..pairs.unconditional import conditions_of
from .chunking import parse_bytes
from .conditional import conditional
from .counter_random import data_digests, data_keys
from .doubts import warn_of, warn_of_errors
from .drawing import handful
from .escalation import foreseen_evaluations
from .foreseen import Foreseen
from .latent_space import NotScored, latent_space
from .result import LogMarginal
from .rungs import escalated
from .sampler import Sampler
from .words import quantity_of

NAMES = {
    "guide": "importance sampling from the guide",
    "exact": "the sum over all states of its discrete latents",
    "auto": "importance sampling from the guide (from Gaussians fitted to the data point, where that does not do)",
}
PILOTED_AT_ONCE = {"cpu": 256, "cuda": 1024}  # data points, of which those that need it are escalated together
OnResult = Callable[[list[int], LogMarginal], None]


def log_marginal(
    model: Callee,
    guide: Callee,
    x: Inputs,
    *,
    estimator: Literal["auto", "guide"] = "auto",
    num_samples: int = 1000,
    target_standard_error: float | None = None,
    max_samples: int = 100_000,
    defensive: float = 0.0,
    memory_budget: str | int = "1GiB",
    chunk_size: int | None = None,
    compile: bool | Literal["auto"] = "auto",
    precision: Literal["fp32", "bf16"] = "fp32",
    seed: int | None = 0,
    progress: bool | str = True,
    given: Sequence[str] = (),
    only: Sequence[int] | None = None,
    on_result: OnResult | None = None,
) -> LogMarginal:
    """Estimate log p(x) of each data point by importance sampling, from proposals as good as it needs.

    log p(x) ~ log mean_k w_k,  w_k = p(x, z_k) / r(z_k),  z_k ~ r, k = 1..K

    What is estimated is the log-density of all observed sites of one data point, given the inputs that are no sites:
    ``sites`` and ``inputs`` of the result name both. A stochastic lower bound that grows to log p(x) with K. Runs in
    evaluation mode and without gradients; KL weights and other scales of the pair do not enter.

    With estimator "auto" each data point starts from the guide, r(z) = q(z|x). Where the weights of a pilot are
    heavy-tailed, as they are for most guides trained by the ELBO, a Gaussian is fitted to its posterior by some Newton
    steps on the ELBO from the guide on, and r is a mixture of that Gaussian (85%), the guide (10%) and the prior (5%),
    over unconstrained latents; where that does not do, of several Gaussians (see `pyro_vae.evidence.escalation`). With
    up to eight latents, modes that nothing else visits are looked for by climbing from draws of the prior. A fit costs
    about as much as 2,000 samples. Pilots decide, and are thrown away: the mean of the weights stays p(x). Where the
    last proposal will not do either, khat stays above 0.7; with ``target_standard_error``, annealed chains start from
    there or from the prior, 64 for a data point, for about as much as 100,000 to 200,000 samples. Their number is
    nearer to log p(x), and khat falls no lower: whether they missed a mode, their weights do not tell. The details
    of the result say the rung of each data point (0 for the guide, 7 for annealed chains, else the number of
    Gaussians), what it cost, in evaluations of the model, and the share of p(x) found where the proposals hardly draw
    ("left_out"; where it may be above a fiftieth, khat is at least 1). Pairs with discrete latents, with latents on
    circles, spheres or simplices of sparse weights, or whose density at given latents is not known, stay with the
    guide, as ``estimator`` of the result says. "guide" is the protocol of the field: K samples from the guide for all.

    Discrete sites that are marked for enumeration, ``infer={"enumerate": "parallel"}``, are summed out exactly, in
    model and guide, and chains of `pyro.markov` one step after the other; what is left is sampled. Where nothing is
    left, the result is log p(x) itself, without an error.

    A proposal that misses posterior mass makes the estimate quietly too low, and its error too small: a warning names
    the data points whose ``khat`` is above 0.7.

    Every draw belongs to a data point and a sample: the same seed gives the same numbers whatever the chunks and the
    order of the data, to float rounding from the guide, and to a fraction of their standard error from fitted
    proposals, whose fits hand the rounding on. A pair may look at its whole batch (a mean over it, or whether all of it
    has labels), or draw in a way that torch does not let us see by data point. Every batch is tried for that in two
    halves, and a few data points of all of x one by one; where the weights of one depend on those beside it, each is
    weighted by itself, which is slower.

    With ``target_standard_error`` a data point gets as many samples as it needs. Stopping as soon as the error looks
    small would favour draws that missed the large weights, so a pilot decides how many samples that takes, doubling
    from num_samples, and is thrown away; the estimate comes from as many fresh draws. It costs twice the samples and
    keeps the weights' mean unbiased. The error that the fresh draws find themselves can come out above the target, most
    of all where khat is large.

    Args:
        model: p(x, z), called with data (B, ...).
        guide: q(z|x), called with the same data. `widened` gives one that reaches farther.
        x: data (N, ...), tensors on the device of the pair, or arrays: see `pyro_vae.pairs.inputs.as_points`.
        estimator: "auto" or "guide".
        num_samples: K, samples for each data point; exactly that many are drawn for the estimate.
        target_standard_error: in nats, of log p(x) of each data point; None for num_samples each.
        max_samples: of one data point, with a target; one that needs more keeps a larger error. Also evaluations of the
            model by its annealed chains, pilots apart: with fewer than 41,000 there are none, more give hard data
            points more temperatures.
        defensive: share of the draws from the prior p(z) instead of the guide, weighted by the mixture of both: weights
            are then at most p(x|z) / defensive, so that their variance is finite. For few latents. In a fitted
            proposal the prior has its 5%, whatever is given here.
        memory_budget: bytes for tensors while it runs, such as "1GiB": chunks of 4,096 (data point, sample) pairs, on a
            GPU as large as they can be, are cut to stay within it, after small ones have been tried.
        chunk_size: largest number of (data point, sample) pairs at once, instead of what the budget allows.
        compile: draw and score full chunks in one recorded and compiled graph (`Recorded`), with the same random
            numbers and the same result up to rounding. "auto" does so where there are enough data and samples to save
            more time than compiling takes, and a compiler. A pair that cannot be compiled is scored plainly, with a
            warning.
        precision: "bf16", with estimator "guide", takes the matrix products and convolutions of full chunks in
            bfloat16, which adds an error of its own, shared by all samples of a data point and in no way part of
            ``standard_error``. Measure it on a subset of the data, as experiments/benchmarks/evidence_time.py does: the
            difference to "fp32" at the same seed. There it could not be told from zero on 128 images (an MLP of 650,000
            parameters, on a CPU).
        seed: of the draws; None takes one from the global stream.
        progress: show a progress bar, if it takes longer than two seconds, described by this text if it is one.
            It counts evaluations of the model; how many there will be shows on the way.
        given: names of observed sites B, for log p(x_A | x_B) = log p(x_A, x_B) - log p(x_B), A the other observed
            sites: two estimates of num_samples each, with one error. It is a bound on neither side. Where anything else
            depends on x_A, p(x_B) is no part of the model, and it is refused; the guide may look at all.
        only: numbers of the data points of x to estimate, for work that is shared out or goes on; each gets the same
            draws as with all.
        on_result: called with numbers of data points and their results, as soon as they are there.

    Returns:
        LogMarginal: log_prob, standard_error, ess, khat and more of each data point, (N,), or of those in ``only``.

    Warns:
        HeavyTail: data points with khat above 0.7.
        UserWarning: a pair that raises an error at latents that its guide does not draw: those data points stay with
            the guide.

    Raises:
        TypeError: x is of another kind.
        ValueError: a count below 1, no data, a site outside the plate over the data, model and
            guide that do not fit together or have other supports or masks, a guide that is a point mass (or one without
            the density that its auxiliary sites give it), auxiliary sites with a defensive mixture, a data point twice
            in ``only``, ``given`` that is no split of the observed sites or cannot be had, bf16 without compiling or
            with estimator "auto", or a budget too small for one data point.

    Reference:
        Burda, Grosse, Salakhutdinov 2016, "Importance weighted autoencoders"; Owen 2013, "Monte Carlo theory, methods
        and examples", chapter 9 (errors and effective sample size of ratio estimates); Hesterberg 1995, "Weighted
        average importance sampling and defensive mixture distributions"; Vehtari, Simpson, Gelman, Yao, Gabry 2024,
        "Pareto smoothed importance sampling".

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):  # z ~ N(0, 1), x ~ N(z, 1), so that log p(x) = log N(x; 0, 2)
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)
        >>> def guide(x):  # the exact posterior: one sample is enough
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
        >>> log_marginal(model, guide, torch.tensor([0.0, 1.0]), num_samples=1).log_prob
        tensor([-1.2655, -1.5155], dtype=torch.float64)
    """
    points, pair, wide = as_points("x", x, model, guide), (model, guide), getattr(guide, "is_widened", False)
    model, guide = taking(points, model, guide)
    at_least(1, num_samples=num_samples, chunk_size=chunk_size)
    _check_settings(estimator, precision, num_samples, target_standard_error, max_samples, defensive)
    budget = parse_bytes(memory_budget)
    wanted = selected(len(points), only)
    seed = int(torch.randint(2**62, ())) if seed is None else seed
    asked_for_auto = estimator == "auto"
    if given:
        estimate = functools.partial(
            log_marginal,
            estimator=estimator,
            num_samples=num_samples,
            target_standard_error=None if target_standard_error is None else target_standard_error / 2**0.5,
            max_samples=max_samples,
            defensive=defensive,
            memory_budget=budget,
            chunk_size=chunk_size,
            compile=compile,
            precision=precision,
            progress=progress,
            only=wanted,
        )
        result = conditional(estimate, *pair, points, given, seed=seed)
        warn_of(result, wanted, wide=wide, auto=asked_for_auto, stacklevel=3)
        if on_result is not None:
            on_result(wanted, result)
        return result
    with seeded(seed), evaluating(model, guide):
        few = points[handful(points)]
        model, guide = summed_out(model, guide, few)
        check_guide(model, guide, points[wanted], elsewhere="Give defensive=0." if defensive else None)
        model_trace = traces(model, guide, few)[0]
        exact = is_summed_out(model_trace) and not latents_of(model_trace)
        if exact:  # all weights of a data point are log p(x): two show that its error is 0
            estimator, num_samples, target_standard_error = "guide", 2, None
        keys, digests = data_keys(points, seed), data_digests(points)
        sampler = Sampler(model, guide, points, keys, defensive, num_samples, budget, chunk_size, compile, precision)
        space = None if estimator == "guide" else latent_space(model, guide, few)
        about: dict[str, Any] = {
            "measure": measure_of(model_trace),
            "sites": counted_sites(model_trace, len(few)),
            "inputs": conditions_of(model, guide, few),
            "shared_error": shared_error(model, guide),
            "estimator": NAMES["exact" if exact else "guide" if space is None else "auto"],
        }
        each = num_samples if space is None else foreseen_evaluations(space.dim, num_samples)
        total = len(wanted) * each if target_standard_error is None else None
        unit = "sample" if space is None else "evaluation"
        described = progress if isinstance(progress, str) else quantity_of(about["sites"], [*about["inputs"]])
        results, raised = [], list[NotScored]()
        with progress_bar(total, unit=unit, shown=bool(progress), description=described, scaled=True) as bar:
            done = Foreseen(bar, len(wanted), total)
            piloted = 1 if space is None else PILOTED_AT_ONCE.get(points.device.type, 256)
            together = max(sampler.points, piloted)
            for start in range(0, len(wanted), together):
                some = wanted[start : start + together]
                numbers, target = torch.tensor(some), target_standard_error
                if space is not None:
                    settings = num_samples, target, max_samples, seed
                    result = escalated(sampler, space, numbers, *settings, done.update, raised)
                elif target is None:
                    result = sampler.estimate(numbers, num_samples, done.update)
                else:
                    result = sampler.to_target(numbers, num_samples, max_samples, target, done.update)
                result = dataclasses.replace(result, digests=digests[numbers], indices=numbers, **about)
                results.append(result)
                done.finished(start + len(some))
                if on_result is not None:
                    on_result(some, result)
    result = LogMarginal.join(results)
    warn_of(result, wanted, wide=wide, auto=asked_for_auto, stacklevel=3)
    warn_of_errors(raised, stacklevel=3)
    return result


def selected(count: int, only: Sequence[int] | None) -> list[int]:
    """The numbers of the data points to estimate, of so many."""
    wanted = list(range(count) if only is None else map(operator.index, only))
    if not wanted or not all(0 <= i < count for i in wanted):
        raise ValueError(f"Expected numbers of data points from 0 to {count - 1:,}, at least one; got {wanted[:5]}.")
    if len(set(wanted)) < len(wanted):
        raise ValueError(
            f"Expected each data point once, for one that comes again would bring the same draws; got {wanted[:5]}... "
            f"Give numbers of data points, not a mask."
        )
    return wanted


def shared_error(model: Callee, guide: Callee) -> float:
    """Standard error of log p(x) that all data points share: that of the estimated normalizers of the pair's parts."""
    name = "log_normalizer_standard_error"
    parts = {part for module in modules_of(model, guide).values() for part in module.modules()}
    return math.hypot(*(float(getattr(part, name)) for part in parts if hasattr(part, name)))


def _check_settings(
    estimator: str, precision: str, num_samples: int, target: float | None, max_samples: int, defensive: float
) -> None:
    """Raise a ValueError for settings out of range, or that do not go together."""
    if target is not None and not target > 0:
        raise ValueError(f"Expected target_standard_error > 0; got {target}.")
    if target is not None and not 2 <= num_samples <= max_samples:
        raise ValueError(
            f"Expected num_samples, where the pilot starts, from 2 to max_samples; got {num_samples} and {max_samples}."
        )
    if estimator not in ("auto", "guide"):
        raise ValueError(f"Expected estimator 'auto' or 'guide'; got {estimator!r}.")
    if estimator == "auto" and precision == "bf16":
        raise ValueError(
            "Expected estimator 'guide' with precision 'bf16', for fitted proposals are scored in float32; got 'auto'."
        )
    if not 0 <= defensive < 1:
        raise ValueError(f"Expected defensive from 0 to below 1; got {defensive}.")
