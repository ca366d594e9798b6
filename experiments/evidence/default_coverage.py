"""Is the default estimate of log p(x) right, and is its error? python experiments/evidence/default_coverage.py

Pairs with bad guides whose log p(x) is known, each estimated 2,000 times with the default settings: how often the
reported 95% interval, log_prob +- 1.96 standard_error, holds the truth; whether the mean estimate lies at most at the
truth, by a t-test (it is a lower bound in expectation); and how far the guide alone would have been off.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import scipy.stats
import torch
from known_truth import KNOWN, Known
from setting import arguments, save, timed
from torch import Tensor

from pyro_vae import HeavyTail, log_marginal

REPETITIONS = 2000  # of each pair, shared out evenly among its data points
NORMAL_95 = 1.96


def highest_t(error: Tensor, points: int) -> float:
    """The largest t statistic of "the mean error of a data point is above 0"; errors (R * points,)."""
    each = error.view(-1, points)
    return (each.mean(0) / (each.std(0) / math.sqrt(len(each)))).max().item()


def row_of(name: str, make: Callable[[], Known], repetitions: int) -> dict:
    """Coverage, bias and cost of the default estimate for one pair."""
    torch.manual_seed(0)  # of the data
    model, guide, x, truth = make()
    count = repetitions // len(x)
    repeated = x.repeat(count, *[1] * (x.dim() - 1))  # a copy of a data point has draws of its own
    truth = truth.repeat(count)
    with timed() as seconds:
        result = log_marginal(model, guide, repeated)
    guide_alone = log_marginal(model, guide, repeated, estimator="guide")
    error, guide_error = result.log_prob - truth, guide_alone.log_prob - truth
    covered, kept = error.abs() < NORMAL_95 * result.standard_error, ~result.unreliable
    coverage, kept_error = covered[kept].double().mean().item(), error[kept]
    t = highest_t(error, len(x))
    worse = (guide_alone.log_prob - result.log_prob) / torch.hypot(guide_alone.standard_error, result.standard_error)
    row = {
        "pair": name,
        "repetitions": len(repeated),
        "num_samples": int(result.num_samples[0]),
        "flagged": (~kept).double().mean().item(),
        "coverage_where_not_flagged": coverage,
        "coverage_standard_error": math.sqrt(max(coverage * (1 - coverage), 1e-9) / max(int(kept.sum()), 1)),
        "coverage_of_all": covered.double().mean().item(),
        "bias_where_not_flagged": kept_error.mean().item(),
        "bias": error.mean().item(),
        "bias_standard_error": error.std().item() / math.sqrt(len(error)),
        "highest_t": t,
        "p_value_of_highest_t": min(1.0, len(x) * scipy.stats.t.sf(t, count - 1)),  # Bonferroni, over data points
        "reported_standard_error": result.standard_error.mean().item(),
        "true_standard_error": error.view(count, -1).std(0).square().mean().sqrt().item(),
        "guide_alone_bias": guide_error.mean().item(),
        "guide_alone_coverage": (guide_error.abs() < NORMAL_95 * guide_alone.standard_error).double().mean().item(),
        "share_below_guide_by_3_errors": (worse > 3).double().mean().item(),
        "mean_evaluations": result.details["evaluations"].double().mean().item(),
        "core_seconds": seconds["core_seconds"],
    }
    print({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}, flush=True)
    return row


def main() -> None:
    """Repeat, compare, save."""
    chosen = arguments("evidence_default_coverage", __doc__.splitlines()[0])
    warnings.simplefilter("ignore", HeavyTail)  # counted
    repetitions = 40 if chosen.smoke else REPETITIONS
    save(chosen, {"rows": [row_of(name, make, repetitions) for name, make in KNOWN.items()]})


if __name__ == "__main__":
    main()
