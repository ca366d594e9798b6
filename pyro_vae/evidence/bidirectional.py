"""How far annealed estimates can be trusted: log p(x) from both sides, on data simulated from the model."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..disk.json_files import null_for_nan
from ..pairs.batch import Points, joined, taking
from ..pairs.contexts import evaluating, seeded, unvalidated
from ..pairs.densities import check_guide
from ..pairs.enumerated import summed_out
from ..pairs.inputs import Inputs, as_points
from ..pairs.modules import Callee
from ..pairs.unconditional import conditions_of
from .annealed_chains import Chains, result_of
from .annealing_path import Path, Start
from .annealing_schedule import AnnealingSettings, Plan, Schedule
from .counter_random import data_digests, data_keys
from .drawing import handful
from .importance import selected, shared_error
from .measured import Measured, measured
from .result import LogMarginal
from .saved import arrays_of, load_arrays, of_prefix, points_of, save_arrays, with_prefix
from .simulation import simulate, simulate_by_key
from .words import counted

APART = 7 * 2**29  # random stream of chains that move apart
MOVES = 20  # by which they do


@dataclass(frozen=True)
class BidirectionalGap:
    """Stochastic bounds of log p(x) from both sides, in nats, for data x drawn from the model. Tensors are (N,).

    Attributes:
        lower: forward chains, from q0 to the posterior; the mean of its log_prob lies below log p(x).
        upper: reverse chains, from an exact posterior sample to q0; the mean of its log_prob lies above log p(x). A
            data point has one such sample, and its chains first move apart from there. As far as they do not come
            apart, its standard error is too small: the spread over data points, as in ``mean_gap.standard_error``,
            holds that, too.
        x: the data (N, ...).
    """

    lower: LogMarginal
    upper: LogMarginal
    x: Points

    @property
    def bound(self) -> str:
        """ "both": log p(x) is bounded from both sides."""
        return "both"

    @property
    def gap(self) -> Tensor:
        """upper - lower, in nats: in expectation, the sum of both errors. Noise can make it negative for a data
        point."""
        return self.upper.log_prob - self.lower.log_prob

    @property
    def gap_standard_error(self) -> Tensor:
        """Monte Carlo standard error of gap, with the limits of ``upper``."""
        return torch.hypot(self.upper.standard_error, self.lower.standard_error)

    @property
    def mean_gap(self) -> Measured:
        """Mean of gap, in nats per data point: in expectation a bound on the bias of the mean of lower."""
        return measured(self.gap, self.gap_standard_error)

    @property
    def num_temperatures(self) -> int:
        """Steps of the path."""
        return self.lower.details["step_size"].shape[1] + 1

    def __len__(self) -> int:
        return len(self.upper)

    def __getitem__(self, some: Any) -> BidirectionalGap:
        """The results of some of the data points: a slice, indices or a mask."""
        return BidirectionalGap(self.lower[some], self.upper[some], self.x[some])

    @staticmethod
    def join(results: Sequence[BidirectionalGap]) -> BidirectionalGap:
        """The results of several sets of data points, one after the other, as one."""
        lower, upper = (LogMarginal.join([getattr(r, side) for r in results]) for side in ("lower", "upper"))
        return BidirectionalGap(lower, upper, joined([r.x for r in results]))

    def to_json(self) -> dict[str, Any]:
        """The numbers over all data points, ready for JSON; None for a number that is not finite."""
        mean = self.mean_gap
        numbers = {"mean_gap": mean.value, "mean_gap_standard_error": mean.standard_error}
        sides = {"lower": self.lower.to_json(), "upper": self.upper.to_json()}
        return {**null_for_nan(numbers), "num_data_points": len(self), **sides}

    def save(self, path: str | pathlib.Path, about: Mapping[str, Any] | None = None) -> None:
        """Save as PATH.json (numbers over all data points, and what is said about them) and PATH.npz (the data and
        the arrays of each side), as `LogMarginal.save` does."""
        sides = {**with_prefix("lower", self.lower.arrays()), **with_prefix("upper", self.upper.arrays())}
        save_arrays(path, {**arrays_of(self.x), **sides}, {**self.to_json(), **(about or {})}, kind="BidirectionalGap")

    @staticmethod
    def load(path: str | pathlib.Path) -> BidirectionalGap:
        """What `save` has saved.

        Raises:
            FileNotFoundError: PATH.json or PATH.npz is not there.
            ValueError: one of them is damaged, or they do not belong together.
        """
        arrays, about = load_arrays(path, kind="BidirectionalGap")
        lower, upper = (
            LogMarginal.from_arrays(of_prefix(side, arrays), about=about[side]) for side in ("lower", "upper")
        )
        return BidirectionalGap(lower, upper, points_of(arrays))

    def __repr__(self) -> str:
        return (
            f"BidirectionalGap({self.mean_gap.value:.3f} +- {self.mean_gap.standard_error:.3f} nats per data point "
            f"over {len(self):,} simulated ones, from {self.lower.mean.value:.3f} to {self.upper.mean.value:.3f}; "
            f"{counted(self.lower.num_samples)} chains, {self.num_temperatures:,} temperatures)"
        )


def bidirectional(
    model: Callee,
    guide: Callee,
    like: Inputs,
    *,
    num_chains: int = 32,
    num_temperatures: int = 300,
    start: Start = "guide",
    schedule: Schedule = "sigmoid",
    num_leapfrog: int = 5,
    num_warmup_chains: int = 4,
    target_acceptance: float = 0.9,
    chunk_size: int = 4096,
    compile: bool | Literal["auto"] = "auto",
    seed: int | None = 0,
    progress: bool = True,
    only: Sequence[int] | None = None,
    on_result: Callable[[list[int], BidirectionalGap], None] | None = None,
) -> BidirectionalGap:
    """Bound log p(x) from below and above on data simulated from the model, by chains in both directions.

    lower = log mean_k w_k by `annealed_log_marginal`,  upper = -log mean_k v_k,  E[w] = p(x),  E[v] = 1 / p(x)

    The model's own draw (z, x) makes z an exact sample of p(z|x). From there each reverse chain first takes a few
    transitions that leave the posterior invariant, so that chains of one data point start from exact samples that
    depend little on each other, and then the forward chains' transitions and weights the other way round. In
    expectation lower <= log p(x) <= upper, so the mean gap bounds how far the forward estimate is too low.

    To judge `annealed_log_marginal` on real data, run this with the same settings. A mean gap of 0.1 says that on
    data from the model the mean estimate is at most 0.1 nats too low. That carries over as far as the real data
    resemble the model's: for a guide or a decoder that has not seen such data, the gap can be larger or smaller than
    the error on real data. A gap that is not small is a warning in any case: use more temperatures. With
    start="guide", look at the gap of start="prior" as well, which does not depend on what the guide has learned.

    Args:
        model: p(x, z), whose one observed site is its argument x as it is.
        guide: q(z|x); with start="prior" it only says which sites are enumerated.
        like: any tensor of the wanted number and shape of data (N, ...), on the device of the pair; its values are
            not used.
        num_chains: K, chains for each data point in either direction.
        num_temperatures: T, as of `annealed_log_marginal`, and so are all that follow.
        start: q0, "guide" for q(z|x) or "prior" for p(z).
        schedule: "sigmoid" or "adaptive".
        num_leapfrog: leapfrog steps of a transition.
        num_warmup_chains: chains for each data point in the warm-up, which serves both directions.
        target_acceptance: mean acceptance probability that the step sizes are adapted to.
        chunk_size: largest number of (data point, chain) pairs in memory at once; the chains of one stay together.
        compile: as of `annealed_log_marginal`.
        seed: of data and chains, which belong to the number of a data point; None takes one from the global stream.
        progress: show a progress bar, if it takes longer than two seconds, as `fit` does.
        only: numbers of the data points to simulate, from 0 to N - 1; each is the same as with all.
        on_result: called with numbers of data points and their results, as soon as they are there.

    Returns:
        BidirectionalGap: lower, upper and gap of each data point with their errors, (N,), and the data x.

    Raises:
        ValueError: as `annealed_log_marginal`; a model without observed site, with several, one that observes anything
            else than its argument, or that reads its argument otherwise: earlier values, or covariates.

    Reference:
        Grosse, Ghahramani, Adams 2015, "Sandwiching the marginal likelihood using bidirectional Monte Carlo"; Grosse,
        Ancha, Roy 2016, "Measuring the reliability of MCMC inference with bidirectional Monte Carlo"; Wu, Burda,
        Salakhutdinov, Grosse 2017, "On the quantitative analysis of decoder-based generative models".

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)
        >>> def guide(x):  # the exact posterior: no gap
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
        >>> result = bidirectional(model, guide, torch.zeros(10), num_temperatures=5, num_leapfrog=2)
        >>> abs(result.mean_gap.value) < 1e-4
        True
    """
    points = as_points("like", like, model, guide)
    model, guide = taking(points, model, guide)
    annealing = AnnealingSettings(
        num_chains, num_temperatures, start, schedule, num_leapfrog, num_warmup_chains, target_acceptance
    )
    seed = int(torch.randint(2**62, ())) if seed is None else seed
    wanted = selected(len(points), only)
    results = []
    with seeded(seed), evaluating(model, guide), annealing.bar(3 * len(wanted), progress=progress) as bar:
        keys = data_keys(torch.arange(len(points))[:, None], seed).to(points.device)  # by number: there are no data yet
        few = handful(points)
        model, guide = summed_out(model, guide, points[few])
        simulate(model, points[few])  # for its errors, on as many data points as there are
        tried, _ = simulate_by_key(model, points[few], keys[few])
        check_guide(model, guide if start == "guide" else None, tried, elsewhere="Use start='prior'.")
        batches = annealing.batches(wanted, chunk_size)
        chains = Chains(annealing, model, guide, tried, keys[few], batches, compile, bar.update)
        error, inputs = shared_error(model, guide), conditions_of(model, guide if start == "guide" else None, tried)
        for some, padded in batches:
            its_keys = keys[padded]
            x, u = simulate_by_key(model, points[padded], its_keys)
            path = chains.begin(x, its_keys, num_chains, 0)
            plan = chains.warm_up(x, its_keys)
            forward = result_of(*chains.run(path, path.start, x, its_keys, plan), plan)
            u = moved_apart(chains, path, u.repeat(num_chains, 1), x, its_keys, plan)
            backward = result_of(*chains.run(path, u, x, its_keys, plan, reverse=True), plan).inverse()
            lower, upper = (
                dataclasses.replace(
                    side,
                    digests=data_digests(x),
                    indices=padded,
                    measure=path.measure,
                    sites=path.sites,
                    inputs=inputs,
                    estimator=f"annealed importance sampling {way} the {start}",
                    shared_error=error,
                )
                for side, way in ((forward, "from"), (backward, "back to"))
            )
            result = BidirectionalGap(lower, upper, x.cpu())[: len(some)]
            results.append(result)
            if on_result is not None:
                on_result(some, result)
    return BidirectionalGap.join(results)


def moved_apart(chains: Chains, path: Path, u: Tensor, x: Points, keys: Tensor, plan: Plan) -> Tensor:
    """Samples u (K B, D) of the posterior, moved on by transitions that leave it invariant: as exact as before."""
    if not len(plan.steps):
        return u
    step = plan.steps[-1]
    with unvalidated():  # a wild proposal is no error: it is rejected
        state = path.at(u)
        for i in range(MOVES):
            state, _ = chains.move(x, keys, state, torch.ones_like(step), step, APART + i)
    return state.u
