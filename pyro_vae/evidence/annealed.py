"""log p(x) by annealed importance sampling with Hamiltonian transitions, for any pair with continuous latents."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal

import torch

from ..pairs.batch import taking
from ..pairs.contexts import evaluating, seeded
from ..pairs.densities import check_guide
from ..pairs.enumerated import summed_out
from ..pairs.inputs import Inputs, as_points
from ..pairs.modules import Callee
from ..pairs.unconditional import conditions_of
from .annealed_chains import Chains, result_of
from .annealing_path import Start
from .annealing_schedule import AnnealingSettings, Schedule
from .conditional import conditional
from .counter_random import data_digests, data_keys
from .doubts import warn_of
from .drawing import handful
from .importance import OnResult, selected, shared_error
from .result import LogMarginal


def annealed_log_marginal(
    model: Callee,
    guide: Callee,
    x: Inputs,
    *,
    num_chains: int = 32,
    num_temperatures: int = 300,
    start: Start = "guide",
    schedule: Schedule = "sigmoid",
    num_leapfrog: int = 5,
    num_warmup_chains: int = 4,
    target_acceptance: float = 0.9,
    resample: float = 0.0,
    chunk_size: int = 4096,
    compile: bool | Literal["auto"] = "auto",
    seed: int | None = 0,
    progress: bool = True,
    given: Sequence[str] = (),
    only: Sequence[int] | None = None,
    on_result: OnResult | None = None,
) -> LogMarginal:
    """Estimate log p(x) of each data point by annealed importance sampling from the guide or the prior to the
    posterior.

    log p(x) ~ log mean_k w_k,  log w = sum_t (b_t - b_{t-1}) (log p(x, z_{t-1}) - log q0(z_{t-1})),  z_0 ~ q0,
    z_t ~ a Hamiltonian transition that leaves q0(z)^(1 - b_t) p(x, z)^b_t invariant,  0 = b_0 < ... < b_T = 1

    What is estimated is the log-density of all observed sites of one data point, given the inputs that are no sites:
    ``sites`` of the result names them. A stochastic lower bound for any T; with T = 1 it is importance sampling from
    q0. Latents are moved to unconstrained space; several latent sites that depend on each other are fine. Step sizes
    follow the acceptance rate in a warm-up run on chains of its own, for each data point and temperature, and are then
    frozen, so that the estimate stays valid. A model takes num_leapfrog gradients for each chain and temperature. Runs
    in evaluation mode; KL weights and other scales of the pair do not enter.

    The standard error comes from num_chains weights and sees only what the chains saw: compare the two starts, more
    temperatures, and `bidirectional` at the same settings, but for ``resample``.

    Args:
        model: p(x, z), called with data (B, ...).
        guide: q(z|x), called with the same data; with start="prior" it only says which sites are enumerated.
        x: data (N, ...), tensors on the device of the pair, or arrays: see `pyro_vae.pairs.inputs.as_points`.
        num_chains: K, independent chains for each data point.
        num_temperatures: T, steps from q0 to the posterior.
        start: q0, "guide" for q(z|x) or "prior" for p(z).
        schedule: of the temperatures b, "sigmoid" for all alike, or "adaptive": dense where the warm-up of a data
            point saw log p(x, z) - log q0(z) vary most.
        num_leapfrog: leapfrog steps of a transition.
        num_warmup_chains: chains for each data point in the warm-up, which is run along the same path.
        target_acceptance: mean acceptance probability that the step sizes are adapted to.
        resample: share of num_chains below which the effective sample size of a data point makes its chains be drawn
            anew by weight (sequential Monte Carlo); 0 for never. It helps where the path is long and temperatures are
            few; where they are enough, weights stay even. Chains that were drawn anew share ancestors: only the sums
            over those that descend from one first draw count as weights, in ess, khat and the standard error; khat is 1
            where fewer than ten of these are left.
        chunk_size: largest number of (data point, chain) pairs in memory at once; the chains of one stay together.
        compile: run transitions in one recorded and compiled graph; "auto" where that saves more time than it takes.
        seed: of the draws, which belong to data points and chains as in `log_marginal`; None takes one from the global
            stream.
        progress: show a progress bar, if it takes longer than two seconds, as `fit` does.
        given: names of observed sites B, for log p(x_A | x_B), A the others: two estimates with one error, as in
            `log_marginal`; "acceptance" is then the lower one of both.
        only: numbers of the data points of x to estimate, as in `log_marginal`.
        on_result: called with numbers of data points and their results, as soon as they are there.

    Returns:
        LogMarginal: log_prob, standard_error, ess and khat over the chains of each data point, (N,), a stochastic lower
        bound; details "acceptance" (N,), mean acceptance probability of its transitions (nan without any), and
        "step_size" (N, num_temperatures - 1), leapfrog step at each temperature between the two ends,
        "temperatures" (N, num_temperatures + 1).

    Raises:
        ValueError: a count below 1, x of another kind or empty, a discrete latent that is not marked for enumeration, a
            guide whose support is not the prior's, a site outside the plate over the data, model and guide that do not
            fit together, a pair that scores a data point by those beside it, or ``given`` that is no split of the
            observed sites or cannot be had.

    Reference:
        Neal 2001, "Annealed importance sampling"; Wu, Burda, Salakhutdinov, Grosse 2017, "On the quantitative analysis
        of decoder-based generative models"; Del Moral, Doucet, Jasra 2006, "Sequential Monte Carlo samplers".

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):  # z ~ N(0, 1), x ~ N(z, 1), so that log p(x) = log N(x; 0, 2) = -1.5155 at x = 1
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)
        >>> result = annealed_log_marginal(
        ...     model, model, torch.ones(1), start="prior", num_chains=100, num_temperatures=20, num_leapfrog=3
        ... )
        >>> bool((result.log_prob + 1.5155).abs() < 5 * result.standard_error)
        True
    """
    points, pair = as_points("x", x, model, guide), (model, guide)
    model, guide = taking(points, model, guide)
    annealing = AnnealingSettings(
        num_chains, num_temperatures, start, schedule, num_leapfrog, num_warmup_chains, target_acceptance, resample
    )
    seed = int(torch.randint(2**62, ())) if seed is None else seed
    wanted = selected(len(points), only)
    if given:
        estimate = functools.partial(
            annealed_log_marginal,
            num_chains=num_chains,
            num_temperatures=num_temperatures,
            start=start,
            schedule=schedule,
            num_leapfrog=num_leapfrog,
            num_warmup_chains=num_warmup_chains,
            target_acceptance=target_acceptance,
            resample=resample,
            chunk_size=chunk_size,
            compile=compile,
            progress=progress,
            only=wanted,
        )
        result = conditional(estimate, *pair, points, given, seed=seed)
        warn_of(result, wanted, stacklevel=3)
        if on_result is not None:
            on_result(wanted, result)
        return result
    results, method = [], "sequential Monte Carlo" if resample else "annealed importance sampling"
    with seeded(seed), evaluating(model, guide), annealing.bar(2 * len(wanted), progress=progress) as bar:
        few = handful(points)
        model, guide = summed_out(model, guide, points[few])
        check_guide(model, guide if start == "guide" else None, points[wanted], elsewhere="Use start='prior'.")
        batches = annealing.batches(wanted, chunk_size)
        keys, digests, error = data_keys(points, seed), data_digests(points), shared_error(model, guide)
        inputs = conditions_of(model, guide if start == "guide" else None, points[few])
        chains = Chains(annealing, model, guide, points[few], keys[few], batches, compile, bar.update)
        for some, padded in batches:
            batch, its_keys = points[padded], keys[padded]
            path = chains.begin(batch, its_keys, num_chains, 0)
            plan = chains.warm_up(batch, its_keys)
            weights, acceptance = chains.run(path, path.start, batch, its_keys, plan)
            result = dataclasses.replace(
                result_of(weights, acceptance, plan, resampled=resample > 0)[: len(some)],
                digests=digests[some],
                indices=torch.tensor(some),
                measure=path.measure,
                sites=path.sites,
                inputs=inputs,
                estimator=f"{method} from the {start}",
                shared_error=error,
            )
            results.append(result)
            if on_result is not None:
                on_result(some, result)
    result = LogMarginal.join(results)
    warn_of(result, wanted, stacklevel=3)
    return result
