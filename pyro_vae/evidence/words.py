"""How an estimate is put into words, and into numbers over all data points."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..disk.json_files import null_for_nan
from .limits import HEAVY

if TYPE_CHECKING:
    from .result import LogMarginal


def listed(names: Sequence[str]) -> str:
    """Names with commas; of more than four the first and the last."""
    return ", ".join(names if len(names) <= 4 else [names[0], "...", names[-1]])


def quantity_of(sites: Iterable[str], conditions: Sequence[str]) -> str:
    """The log-density of some sites given others.

    Example:
        >>> quantity_of([], []), quantity_of(["x"], ["y", "b"])
        ('log p(x)', 'log p(x | y, b)')
    """
    return f"log p({listed([*sites] or ['x'])}{f' | {listed(conditions)}' if conditions else ''})"


def one_quantity(quantities: Iterable[str]) -> str:
    """What was estimated, where it was the same; else "log p(x)"."""
    different = set(quantities)
    return different.pop() if len(different) == 1 else "log p(x)"


def data_points(count: int) -> str:
    """So many data points, in words: "1 data point", "1,000 data points"."""
    return f"{count:,} data point{'' if count == 1 else 's'}"


def sample_counts(least: int, most: int) -> str:
    """How many samples, or from how many to how many."""
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def counted(num_samples: Tensor) -> str:
    """The same of the samples of each data point."""
    return sample_counts(*map(int, num_samples.aminmax()))


def largest(values: Tensor) -> float:
    """The largest of those that are numbers; nan for none: a data point without one does not hide the others'."""
    known = values[~values.isnan()]
    return known.max().item() if len(known) else math.nan


def rows_of(result: LogMarginal) -> list[tuple[str, str]]:
    """What a notebook shows of an estimate: names and numbers."""
    mean, khat = result.mean, largest(result.khat)
    return [
        (f"{result.quantity}, nats per data point", f"{mean.value:.3f} ({result.side})"),
        ("standard error over data points", f"{mean.standard_error:.3f}"),
        ("Monte Carlo error", f"{mean.monte_carlo_error:.3f}"),
        ("data points", f"{len(result):,}"),
        ("samples each", counted(result.num_samples)),
        ("effective sample size", f"{-largest(-result.ess):.1f} to {largest(result.ess):.1f}"),
        ("largest k-hat", "none" if math.isnan(khat) else f"{khat:.2f}"),
        ("not to be trusted", data_points(int(result.unreliable.sum()))),
        ("estimator", result.estimator or "not recorded"),
    ]


def line_of(result: LogMarginal) -> str:
    """An estimate in a line."""
    flagged, highest = int(result.unreliable.sum()), largest(result.khat)
    khat = "no k-hat" if math.isnan(highest) else f"k-hat up to {highest:.2f}"
    untold = int(result.undecided.sum())
    too_few = f", samples too few to tell whether to trust {data_points(untold)}" if untold else ""
    mean = result.mean
    return (
        f"LogMarginal({f'{result.quantity}: ' if result.sites else ''}mean {mean.value:.3f} nats per data point, "
        f"+- {mean.standard_error:.3f} over {data_points(len(result))}, "
        f"+- {mean.monte_carlo_error:.3f} Monte Carlo; {counted(result.num_samples)} samples each, "
        f"ESS from {-largest(-result.ess):.1f} to {largest(result.ess):.1f}, "
        f"{khat}{f', {data_points(flagged)} unreliable' if flagged else ''}{too_few}; "
        f"{result.side})"
    )


def summarized(result: LogMarginal) -> dict[str, Any]:
    """What a result says over all data points, ready for JSON; None for a number that is not finite."""
    mean, (least, most) = result.mean, map(int, result.num_samples.aminmax())
    numbers = {
        "log_marginal_nats_per_data_point": mean.value,
        "standard_error_over_data_points": mean.standard_error,
        "monte_carlo_error": mean.monte_carlo_error,
        "bound": result.bound,
        "estimator": result.estimator,
        "measure": result.measure,
        "sites": dict(result.sites),
        "given": dict(result.given),
        "inputs": list(result.inputs),
        "quantity": result.quantity,
        "smallest_ess": -largest(-result.ess),
        "median_ess": result.ess.nanmedian().item(),
        "data_points_with_ess_below_10": int((result.ess < 10).sum()),
        "largest_khat": largest(result.khat),
        "data_points_with_khat_above_0.7": int((result.khat > HEAVY).sum()),
        "data_points_with_too_few_samples_for_khat": int(result.undecided.sum()),
        "delta_method_bias": result.delta_method_bias.nanmean().item(),
        "jackknife_nats_per_data_point": result.jackknife.mean().item(),
        "data_points_not_finite": int((~result.log_prob.isfinite()).sum()),
        "num_data_points": len(result),
        "num_samples": least if least == most else [least, most],
        "convergence": [
            {"num_samples": k, "log_marginal": mean, "monte_carlo_error": error}
            for k, mean, error in result.convergence()
        ],
        "shared_error": result.shared_error,
    }
    return {name: null_for_nan(value) for name, value in numbers.items()}
