"""The numbers of an estimate over all data points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..disk.json_files import null_for_nan
from .limits import HEAVY
from .words import largest, one_or_range

if TYPE_CHECKING:
    from .result import LogMarginal


def summarized(result: LogMarginal) -> dict[str, Any]:
    """What a result says over all data points, ready for JSON; None for a number that is not finite."""
    mean = result.mean
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
        "num_samples": one_or_range(result.num_samples),
        "convergence": [
            {"num_samples": k, "log_marginal": mean, "monte_carlo_error": error}
            for k, mean, error in result.convergence()
        ],
        "shared_error": result.shared_error,
    }
    return {name: null_for_nan(value) for name, value in numbers.items()}
