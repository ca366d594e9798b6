"""Paired comparison of models evaluated on the same data points."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..output.frames import frame, html
from .alike import require_alike, require_one_kind, require_one_quantity
from .cautions import cautions
from .measured import Measured, with_interval
from .result import LogMarginal
from .saved_comparison import read_comparison
from .tables import comparison_json, comparison_latex, comparison_markdown, comparison_table
from .words import largest, one_quantity

NUMBERS = ("value", "low", "high", "standard_error", "monte_carlo_error")  # of a `Measured`


class Differences(dict[tuple[str, str], Measured]):
    """Differences by pair of names, in the one order or the other."""

    def __missing__(self, pair: Any) -> Measured:
        if isinstance(pair, tuple) and pair[::-1] in self:
            return -self[pair[::-1]]
        names = list(dict.fromkeys(name for pair in self for name in pair))
        raise KeyError(f"Expected two different models out of {', '.join(names) or 'none'}; got {pair!r}.")


@dataclass(frozen=True, repr=False)
class Comparison:
    """Result of `compare`: nats per data point; higher log p(x) is better.

    Attributes:
        log_marginal: by name, the mean log p(x) over data points and seeds, its interval over both; over data points
            alone where a model has one seed.
        differences: by pair of names (a, b), the mean of log p_a(x) - log p_b(x), its interval over both; over data
            points alone where one of the two has one seed. By (b, a) it is log p_b(x) - log p_a(x).
        simultaneous: the same differences, with intervals that all hold at once with 95% (Bonferroni): also for the
            model that comes out best of all and was picked for that.
        of_these_runs: by name and by pair, with intervals over data points alone: they say nothing about other runs.
        seed_means: by name, the mean log p(x) of each seed.
        num_data_points: how many data points all runs were evaluated on.
        num_samples: by name, the smallest and the largest number of samples for a data point.
        smallest_ess: by name, the smallest effective sample size of any data point in any run.
        largest_khat: by name, the largest k-hat of any data point in any run; nan where none could be computed.
        unreliable: by name, how many of its estimates are not to be trusted (`LogMarginal.unreliable`), in all runs.
        undecided: by name, for how many of its estimates samples were too few to tell (`LogMarginal.undecided`).
        fitted: by name, the share of its estimates that came from proposals fitted to the data point.
        estimators: by name, what made its estimates, as far as that was recorded.
        quantity: by name, what was estimated: "log p(x)", "log p(x | y)".
        about: of a comparison from the command line, what its tables say besides: data protocol, likelihood, command.
    """

    log_marginal: dict[str, Measured]
    differences: dict[tuple[str, str], Measured]
    simultaneous: dict[tuple[str, str], Measured]
    of_these_runs: dict[str | tuple[str, str], Measured]
    seed_means: dict[str, tuple[float, ...]]
    num_data_points: int
    num_samples: dict[str, tuple[int, int]]
    smallest_ess: dict[str, float]
    largest_khat: dict[str, float]
    unreliable: dict[str, int]
    undecided: dict[str, int]
    fitted: dict[str, float]
    estimators: dict[str, tuple[str, ...]]
    quantity: dict[str, str]
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_seeds(self) -> dict[str, int]:
        """By name, how many runs there were."""
        return {name: len(means) for name, means in self.seed_means.items()}

    @property
    def over(self) -> str:
        """What the intervals are over: seeds count only where a model has at least two."""
        single = [name for name, count in self.num_seeds.items() if count == 1]
        if len(single) == len(self.num_seeds):
            return "data points alone (one seed)"
        alone = f", over data points alone for {', '.join(single)} (one seed)" if single else ""
        return f"data points and seeds{alone}"

    @property
    def cautions(self) -> list[str]:
        """What speaks against the numbers, a sentence each."""
        return list(cautions(self))

    @property
    def caution(self) -> str:
        """All `cautions`; empty without any."""
        return " ".join(self.cautions)

    def to_frame(self) -> Any:
        """A `pandas.DataFrame` with a row for each model, best first: log p(x) and its errors, nats per data point.

        Raises:
            ImportError: pandas is not installed.
        """
        rows = self._best_first()
        columns = {name: [getattr(mean, name) for _, mean in rows] for name in NUMBERS}
        for name in ("smallest_ess", "unreliable", "num_seeds"):
            columns[name] = [getattr(self, name)[model] for model, _ in rows]
        return frame({"log_marginal": columns.pop("value"), **columns}, index=[m for m, _ in rows], index_name="model")

    def differences_to_frame(self) -> Any:
        """A `pandas.DataFrame` with a row for each pair of models, the better minus the worse, the largest first: the
        paired difference, nats per data point, its interval, and that of all differences at once.

        Raises:
            ImportError: pandas is not installed.
        """
        names = [name for name, _ in self._best_first()]
        pairs = sorted(itertools.combinations(names, 2), key=lambda pair: -self.differences[pair].value)
        columns = {name: [getattr(self.differences[pair], name) for pair in pairs] for name in NUMBERS}
        for name in ("low", "high"):
            columns[f"simultaneous_{name}"] = [getattr(self.simultaneous[pair], name) for pair in pairs]
        index = [f"{better} - {worse}" for better, worse in pairs]
        return frame({"difference": columns.pop("value"), **columns}, index=index, index_name="pair")

    def to_latex(self) -> str:
        """The two tables as a ``table`` of LaTeX, with the rules of booktabs; what the numbers are stands in its
        caption."""
        return comparison_latex({**self.about, **comparison_json(self)})

    def to_markdown(self) -> str:
        """The two tables in Markdown, and below them what the numbers are."""
        return comparison_markdown({**self.about, **comparison_json(self)})

    @staticmethod
    def load(folder: str | Path) -> Comparison:
        """The comparison that ``pyro-vae compare`` has written into a folder.

        Raises:
            FileNotFoundError: there is none.
            ValueError: comparison.json is damaged, was changed, or is of a version that did not keep as much.
        """
        found = read_comparison(Path(folder) / "comparison.json")
        for name in ("differences", "simultaneous"):
            found[name] = Differences(found[name])
        return Comparison(**found)

    def _best_first(self) -> list[tuple[str, Measured]]:
        return sorted(self.log_marginal.items(), key=lambda item: -item[1].value)

    def _repr_html_(self) -> str:
        rows, what = self._best_first(), one_quantity(self.quantity.values())
        table = html(
            f"{what}, nats per data point; 95% intervals over {self.over}",
            [[name, mean.interval, f"{self.unreliable[name]:,}", str(self.num_seeds[name])] for name, mean in rows],
            headers=["model", what, "not to be trusted", "seeds"],
        )
        pairs = [[f"{a} - {b}", mean.interval] for (a, b), mean in self.differences.items()]
        return table + html("paired differences, nats", pairs) + escape(self.caution)

    def __repr__(self) -> str:
        what = one_quantity(self.quantity.values())
        points = f"mean {what}, nats; 95% intervals over {self.over}, {self.num_data_points:,} data points"
        return "\n\n".join(
            [points, comparison_table(comparison_json(self), style="simple"), *filter(None, [self.caution])]
        )


def compare(evaluations: Mapping[str, LogMarginal | Sequence[LogMarginal]]) -> Comparison:
    """Compare models by their log p(x) of the same data points, one by one.

    With y[s, i] the log p(x_i) of seed s, the difference of two models is the mean of ybar_a[i] - ybar_b[i] over the
    data points, ybar the mean over seeds. Its variance is var_i(ybar_a - ybar_b) / N + var_s(ybar_a) / S_a +
    var_s(ybar_b) / S_b: data points are shared by both models, seeds are not. The interaction of data points and seeds
    is counted twice, which makes intervals a little too wide rather than too narrow. Intervals are Student's t with the
    degrees of freedom of Welch and Satterthwaite. Two seeds are too few for those where runs differ more than data
    points tell: of 1,500 simulated means with standard errors 0.7 from two seeds and 0.3 from 100 data points 89% were
    covered, of differences 98%; with three seeds 94% of means. With a single seed of one of the models the interval is
    over data points alone and says nothing about other training runs; the ``shared_error`` of results, which no spread
    over data points shows, is added. Several seeds show theirs in their spread.

    Each interval stands for itself. Where the best of several models is picked by them, those in ``simultaneous``
    hold, which are wider.

    Estimates of different estimators, from other numbers of samples or other proposals may be compared; the result's
    ``caution`` says so, as of all else that speaks against a number.

    Args:
        evaluations: by name of the model, its result or the results of its seeds, all of the same data points in the
            same order.

    Returns:
        Comparison, nats per data point.

    Raises:
        ValueError: fewer than two data points, no model, a model without results, something else than results, other
            data points or the same in another order, other values of them (x beside x and y), densities beside
            probabilities, or a log p(x) that is not finite.

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
    require_alike([result for results in runs.values() for result in results])
    require_one_quantity(runs)
    require_one_kind((name, kind) for name, results in runs.items() for kind in _recorded(results, "measure"))
    log_probs = {name: torch.stack([r.log_prob for r in results]) for name, results in runs.items()}  # (S, N)
    for name, table in log_probs.items():
        if not table.isfinite().all():
            raise ValueError(
                f"Expected a finite log p(x) for every data point; got {int((~table.isfinite()).sum())} others for "
                f"{name}. Evaluate that run with more samples, or look at it."
            )
    shared = {name: math.hypot(*(r.shared_error for r in rs)) / len(rs) for name, rs in runs.items()}
    noise = {name: math.hypot(*(r.mean.monte_carlo_error for r in rs)) / len(rs) for name, rs in runs.items()}

    def mean_of(*names: str, seeds: bool, level: float = 0.95) -> Measured:
        """Of one model, or of the difference of two; over seeds too where each has several and they are wanted."""
        signed = [sign * log_probs[name] for sign, name in zip((1, -1), names, strict=False)]
        errors = (math.hypot(*(of[name] for name in names)) for of in (shared, noise))
        return _mean(signed, *errors, seeds=seeds and all(len(runs[name]) > 1 for name in names), level=level)

    pairs = [*itertools.combinations(runs, 2)]
    at_once = 1 - 0.05 / max(len(pairs), 1)
    everything: list[tuple[str, ...]] = [*((name,) for name in runs), *pairs]
    return Comparison(
        log_marginal={name: mean_of(name, seeds=True) for name in runs},
        differences=Differences({pair: mean_of(*pair, seeds=True) for pair in pairs}),
        simultaneous=Differences({pair: mean_of(*pair, seeds=True, level=at_once) for pair in pairs}),
        of_these_runs={names if len(names) == 2 else names[0]: mean_of(*names, seeds=False) for names in everything},
        seed_means={name: tuple(table.mean(1).tolist()) for name, table in log_probs.items()},
        num_data_points=next(iter(log_probs.values())).shape[1],
        num_samples={name: _counts(results) for name, results in runs.items()},
        smallest_ess={name: min(r.ess.min().item() for r in results) for name, results in runs.items()},
        largest_khat={name: largest(torch.cat([r.khat for r in results])) for name, results in runs.items()},
        unreliable={name: sum(int(r.unreliable.sum()) for r in results) for name, results in runs.items()},
        undecided={name: sum(int(r.undecided.sum()) for r in results) for name, results in runs.items()},
        fitted={name: _share_fitted(results) for name, results in runs.items()},
        estimators={name: _recorded(results, "estimator") for name, results in runs.items()},
        quantity={name: one_quantity(_recorded(results, "quantity")) for name, results in runs.items()},
    )


def _as_list(name: str, given: LogMarginal | Sequence[LogMarginal]) -> list[LogMarginal]:
    results = [given] if isinstance(given, LogMarginal) else given
    if not isinstance(results, Sequence) or not all(isinstance(result, LogMarginal) for result in results):
        raise ValueError(
            f"Expected the result of log_marginal, or a list of one for each seed, for {name!r}; got "
            f"{type(given).__name__}. Give compare({{'a': result_a, 'b': result_b}})."
        )
    return list(results)


def _recorded(results: Sequence[LogMarginal], name: str) -> tuple[str, ...]:
    """The values of an attribute that results have, each once."""
    return tuple(sorted({getattr(result, name) for result in results} - {""}))


def _counts(results: Sequence[LogMarginal]) -> tuple[int, int]:
    """The smallest and the largest number of samples; annealed chains are no samples, unless there is nothing else."""
    counts, chains = (torch.cat([getattr(r, name) for r in results]) for name in ("num_samples", "from_chains"))
    counts = counts if chains.all() else counts[~chains]
    return int(counts.min()), int(counts.max())


def _share_fitted(results: Sequence[LogMarginal]) -> float:
    """Of the estimates, those from proposals that were fitted to the data point."""
    rungs = [r.details.get("rung", torch.zeros(len(r))) for r in results]
    return (torch.cat(rungs) > 0).double().mean().item()


def _mean(tables: Sequence[Tensor], shared: float, noise: float, *, seeds: bool, level: float) -> Measured:
    """Mean over seeds and data points of a table (S, N), or of the sum of two, with the interval over data points and
    an error that all of them share, or over data points and seeds, whose spread shows that error."""
    by_point = torch.stack([table.mean(0) for table in tables]).sum(0)
    spread: list[tuple[float, float]] = [(by_point.var().item() / len(by_point), len(by_point) - 1)]
    if seeds:
        spread += [(table.mean(1).var().item() / len(table), len(table) - 1) for table in tables]
    else:
        spread += [(shared**2, math.inf)]
    return with_interval(by_point.mean().item(), spread, noise, level=level)
