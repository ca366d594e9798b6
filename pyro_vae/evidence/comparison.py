"""Paired comparison of models evaluated on the same data points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from torch import Tensor

from ..output.frames import frame, html
from .measured import Measured, with_interval
from .result import LogMarginal

NUMBERS = ("value", "low", "high", "standard_error", "monte_carlo_error")  # of a `Measured`
PLURAL = {"density": "densities", "probability": "probabilities", "mixed": "products of both"}


@dataclass(frozen=True, repr=False)
class Comparison:
    """Result of `compare`: nats per data point; higher log p(x) is better.

    Attributes:
        log_marginal: by name, the mean log p(x) over data points and seeds, its interval over both.
        differences: by pair of names (a, b), the mean of log p_a(x) - log p_b(x), its interval over both.
        num_seeds: by name, how many runs there were.
        num_data_points: how many data points all runs were evaluated on.
        num_samples: the smallest number of samples for each data point.
        smallest_ess: by name, the smallest effective sample size of any data point in any run.
        unreliable: by name, how many of its estimates are not to be trusted (`LogMarginal.unreliable`), in all runs.
        estimators: by name, what made its estimates, as far as that was recorded.
    """

    log_marginal: dict[str, Measured]
    differences: dict[tuple[str, str], Measured]
    num_seeds: dict[str, int]
    num_data_points: int
    num_samples: int
    smallest_ess: dict[str, float]
    unreliable: dict[str, int]
    estimators: dict[str, tuple[str, ...]]

    @property
    def over(self) -> str:
        """What the intervals are over: seeds count only where each model has at least two."""
        return "data points and seeds" if min(self.num_seeds.values()) > 1 else "data points alone (one seed)"

    @property
    def caution(self) -> str:
        """What speaks against the numbers: different estimators, or estimates not to be trusted; else empty."""
        sentences = []
        if len({estimator for made_by in self.estimators.values() for estimator in made_by}) > 1:
            each = (f"{name} by {' and '.join(made_by)}" for name, made_by in self.estimators.items() if made_by)
            sentences.append(
                f"Different estimators ({'; '.join(each)}): part of a difference may be theirs, for each is too low by "
                f"its own bias."
            )
        if any(self.unreliable.values()):
            each = (
                f"{name} {count:,} of {self.num_seeds[name] * self.num_data_points:,}"
                for name, count in self.unreliable.items()
            )
            sentences.append(
                f"Not to be trusted, k-hat above 0.7: {', '.join(each)}; they are likely too low, by more than their "
                f"error says."
            )
        return " ".join(sentences)

    def to_frame(self) -> Any:
        """A `pandas.DataFrame` with a row for each model, best first: log p(x) and its errors, nats per data point.

        Raises:
            ImportError: pandas is not installed.
        """
        rows = sorted(self.log_marginal.items(), key=lambda item: -item[1].value)
        columns = {name: [getattr(mean, name) for _, mean in rows] for name in NUMBERS}
        for name in ("smallest_ess", "unreliable", "num_seeds"):
            columns[name] = [getattr(self, name)[model] for model, _ in rows]
        return frame({"log_marginal": columns.pop("value"), **columns}, index=[m for m, _ in rows], index_name="model")

    def differences_to_frame(self) -> Any:
        """A `pandas.DataFrame` with a row for each pair of models, a - b: the paired difference, nats per data point.

        Raises:
            ImportError: pandas is not installed.
        """
        pairs = [f"{a} - {b}" for a, b in self.differences]
        columns = {name: [getattr(mean, name) for mean in self.differences.values()] for name in NUMBERS}
        return frame({"difference": columns.pop("value"), **columns}, index=pairs, index_name="pair")

    def _repr_html_(self) -> str:
        rows = sorted(self.log_marginal.items(), key=lambda item: -item[1].value)
        table = html(
            f"log p(x), nats per data point; 95% intervals over {self.over}",
            [[name, mean.interval, f"{self.unreliable[name]:,}", str(self.num_seeds[name])] for name, mean in rows],
            headers=["model", "log p(x)", "not to be trusted", "seeds"],
        )
        pairs = [[f"{a} - {b}", mean.interval] for (a, b), mean in self.differences.items()]
        return table + html("paired differences, nats", pairs) + escape(self.caution)

    def __repr__(self) -> str:
        means = ", ".join(f"{name} {mean.interval}" for name, mean in self.log_marginal.items())
        over = f"95% intervals over {self.over}, {self.num_data_points:,} data points"
        return f"Comparison(mean log p(x), nats: {means}; {over}{self.caution and f'. {self.caution}'})"


def compare(evaluations: Mapping[str, LogMarginal | Sequence[LogMarginal]]) -> Comparison:
    """Compare models by their log p(x) of the same data points, one by one.

    With y[s, i] the log p(x_i) of seed s, the difference of two models is the mean of ybar_a[i] - ybar_b[i] over the
    data points, ybar the mean over seeds. Its variance is var_i(ybar_a - ybar_b) / N + var_s(ybar_a) / S_a +
    var_s(ybar_b) / S_b: data points are shared by both models, seeds are not. The interaction of data points and seeds
    is counted twice, which makes intervals a little too wide rather than too narrow. Intervals are Student's t with the
    degrees of freedom of Welch and Satterthwaite. Two seeds are too few for those where runs differ more than data
    points tell: of 1,500 simulated means with standard errors 0.7 from two seeds and 0.3 from 100 data points 89% were
    covered, of differences 98%; with three seeds 94% of means. With a single seed the interval is over data points
    alone and says nothing about another training run; the ``shared_error`` of its result, which no spread over data
    points shows, is added. Several seeds show theirs in their spread.

    Estimates of different estimators may be compared; the result's ``caution`` says so.

    Args:
        evaluations: by name of the model, its result or the results of its seeds, all of the same data points in the
            same order.

    Returns:
        Comparison, nats per data point.

    Raises:
        ValueError: fewer than two data points, no model, a model without results, something else than results, other
            data points or the same in another order, densities beside probabilities, or a log p(x) that is not finite.

    Reference:
        Satterthwaite 1946, "An approximate distribution of estimates of variance components"; Owen 2007, "The
        pigeonhole bootstrap" (two crossed random effects).

    Example:
        >>> def result(log_prob):
        ...     none, ten = torch.zeros(3), torch.full((3,), 10)
        ...     return LogMarginal(torch.tensor(log_prob).double(), none, ess=ten, khat=none, num_samples=ten)
        >>> a = [result([-1.0, -2.0, -3.0]), result([-1.1, -2.0, -3.1])]
        >>> b = [result([-2.0, -3.1, -4.0]), result([-2.1, -3.1, -3.9])]
        >>> print(compare({"a": a, "b": b}).differences["a", "b"].interval)
        1.00 [0.78, 1.22]
    """
    runs = {name: _as_list(name, given) for name, given in evaluations.items()}
    if not runs or not all(runs.values()):
        raise ValueError(f"Expected at least one evaluation for each model; got {[*map(len, runs.values())]}.")
    _check_alike([result for results in runs.values() for result in results])
    require_one_kind((name, kind) for name, results in runs.items() for kind in _recorded(results, "measure"))
    log_probs = {name: torch.stack([r.log_prob for r in results]) for name, results in runs.items()}  # (S, N)
    for name, table in log_probs.items():
        if not table.isfinite().all():
            raise ValueError(
                f"Expected a finite log p(x) for every data point; got {int((~table.isfinite()).sum())} others for "
                f"{name}. Evaluate that run with more samples, or look at it."
            )
    shared = {name: results[0].shared_error if len(results) == 1 else 0.0 for name, results in runs.items()}
    noise = {
        name: math.sqrt(sum(r.mean.monte_carlo_error**2 for r in results)) / len(results)
        for name, results in runs.items()
    }
    pairs = itertools.combinations(runs, 2)
    return Comparison(
        log_marginal={name: _mean([log_probs[name]], shared[name], noise[name]) for name in runs},
        differences={
            (a, b): _mean(
                [log_probs[a], -log_probs[b]], math.hypot(shared[a], shared[b]), math.hypot(noise[a], noise[b])
            )
            for a, b in pairs
        },
        num_seeds={name: len(results) for name, results in runs.items()},
        num_data_points=next(iter(log_probs.values())).shape[1],
        num_samples=min(int(r.num_samples.min()) for results in runs.values() for r in results),
        smallest_ess={name: min(r.ess.min().item() for r in results) for name, results in runs.items()},
        unreliable={name: sum(int(r.unreliable.sum()) for r in results) for name, results in runs.items()},
        estimators={name: _recorded(results, "estimator") for name, results in runs.items()},
    )


def _as_list(name: str, given: LogMarginal | Sequence[LogMarginal]) -> list[LogMarginal]:
    results = [given] if isinstance(given, LogMarginal) else given
    if not isinstance(results, Sequence) or not all(isinstance(result, LogMarginal) for result in results):
        raise ValueError(
            f"Expected the result of log_marginal, or a list of one for each seed, for {name!r}; got "
            f"{type(given).__name__}. Give compare({{'a': result_a, 'b': result_b}})."
        )
    return list(results)


def _check_alike(results: Sequence[LogMarginal]) -> None:
    """Raise a ValueError unless all are results of the same data points, at least two, in the same order."""
    counts = sorted({len(result) for result in results})
    if len(counts) > 1 or counts[0] < 2:
        raise ValueError(
            f"Expected all runs evaluated on the same data points, at least 2; got numbers of data points {counts}. "
            f"Evaluate them again on the same data."
        )
    digests = [result.digests for result in results if result.digests is not None]
    for other in digests[1:]:
        if not torch.equal(digests[0], other):
            same = torch.equal(digests[0].sort().values, other.sort().values)
            raise ValueError(
                f"Expected all runs evaluated on the same data points in the same order; got "
                f"{'the same ones in another order' if same else 'other ones'}, though as many. Evaluate them again on "
                f"the same tensor."
            )


def _recorded(results: Sequence[LogMarginal], name: str) -> tuple[str, ...]:
    """The values of an attribute that results have, each once."""
    return tuple(sorted({getattr(result, name) for result in results} - {""}))


def require_one_kind(measures: Iterable[tuple[str, str]]) -> None:
    """Refuse a comparison of densities with probabilities, given pairs of a model's name and its measure.

    Raises:
        ValueError: both kinds are among them; names them.
    """
    kinds: dict[str, list[str]] = {}
    for name, measure in measures:
        kinds.setdefault(measure, []).append(name)
    if len(kinds) > 1:
        both = " and ".join(
            f"{PLURAL.get(measure, measure)} ({', '.join(kinds[measure])})" for measure in sorted(kinds)
        )
        raise ValueError(
            f"Expected log p(x) of one kind; got {both}, whose difference means nothing. Compare likelihoods of one "
            f"kind."
        )


def _mean(tables: Sequence[Tensor], shared: float, noise: float) -> Measured:
    """Mean over seeds and data points of a table (S, N), or of the sum of two, with the interval over both and over an
    error that all data points share."""
    by_point = torch.stack([table.mean(0) for table in tables]).sum(0)
    spread = [(by_point.var().item() / len(by_point), len(by_point) - 1), (shared**2, math.inf)]
    seeds = [(table.mean(1).var().item() / len(table), len(table) - 1) for table in tables if len(table) > 1]
    return with_interval(by_point.mean().item(), [*spread, *seeds], noise)
