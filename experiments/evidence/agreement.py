"""Do all estimators find log p(x) where it is known? python experiments/evidence/agreement.py

Probabilistic PCA, fitted by scikit-learn to its digits, is a linear-Gaussian model/guide pair. Each estimator is
compared with `PCA.score_samples` on every image, the bidirectional bounds on as many images simulated from the model.
The unit is the standard error that the estimate has for that image. If that error is right and normal, deviations z
follow Student's t with K - 1 degrees of freedom, where K is the number of samples or chains that it was estimated from.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from pca import ProbabilisticPCA
from scipy import stats
from setting import arguments, save, timed
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import Tensor

from pyro_vae import HeavyTail, LogMarginal, annealed_log_marginal, bidirectional, log_marginal, widened

LATENT_DIM = 5
GUIDE_SCALE = 1.1  # times that of the posterior
NUM_SAMPLES = 1000
ANNEALING: dict[str, dict[str, Any]] = {  # the prior is farther away; its weights need no double precision
    "guide": {"num_chains": 64, "num_temperatures": 15, "dtype": torch.float64},
    "prior": {"num_chains": 32, "num_temperatures": 300, "dtype": torch.float32},
}
TRANSITIONS = {"num_leapfrog": 2, "num_warmup_chains": 2, "chunk_size": 20_000, "compile": False}
NORMAL_95 = 1.96


def estimates(pca: PCA, x: Tensor, *, smoke: bool) -> Iterator[tuple[str, LogMarginal, Tensor, float]]:
    """Name, result, its images and seconds of one core, by estimator."""
    pair = ProbabilisticPCA(pca, GUIDE_SCALE)
    proposals = {
        "importance": (pair.guide, 0.0),
        "importance, widened 1.2": (widened(pair.guide, 1.2), 0.0),
        "importance, defensive 0.1": (pair.guide, 0.1),
    }
    for name, (guide, defensive) in proposals.items():
        with timed() as time:
            result = log_marginal(
                pair.model, guide, x, num_samples=NUM_SAMPLES, defensive=defensive, compile=False, estimator="guide"
            )
        yield name, result, x, time["core_seconds"]
    for start, settings in ANNEALING.items():
        options = {**settings, **TRANSITIONS, "start": start} | ({"num_temperatures": 4} if smoke else {})
        dtype = options.pop("dtype")
        pair = ProbabilisticPCA(pca, GUIDE_SCALE, dtype)
        with timed() as time:
            result = annealed_log_marginal(pair.model, pair.guide, x.to(dtype), **options)
        yield f"annealed from {start}", result, x, time["core_seconds"]
        with timed() as time:
            both = bidirectional(pair.model, pair.guide, x.to(dtype), **options)
        for side, result in (("lower", both.lower), ("upper", both.upper)):
            yield f"bidirectional from {start}, {side}", result, both.x.double(), time["core_seconds"]


def compared(result: LogMarginal, truth: Tensor) -> dict[str, float]:
    """Deviations from the truth in standard errors of each image's own, and what they should be."""
    error = result.log_prob - truth
    z = error / result.standard_error
    student = stats.t(int(result.num_samples[0]) - 1)
    largest = [float(student.isf((1 - quantile ** (1 / len(z))) / 2)) for quantile in (0.5, 0.99)]
    return {
        "num_images": len(z),
        "num_samples": int(result.num_samples[0]),
        "mean_standard_error": result.standard_error.mean().item(),
        "mean_error": error.mean().item(),
        "mean_error_standard_error": error.std().item() / math.sqrt(len(z)),
        "rms_deviation": z.square().mean().sqrt().item(),
        "expected_rms": float(student.std()),
        "largest_deviation": z.abs().max().item(),
        "expected_largest": largest[0],
        "largest_in_99%": largest[1],
        "share_within_1.96": (z.abs() < NORMAL_95).double().mean().item(),
        "expected_share": 1 - 2 * float(student.sf(NORMAL_95)),
    }


def main() -> None:
    """Estimate, compare, save."""
    chosen = arguments("evidence_agreement", __doc__.splitlines()[0])
    warnings.simplefilter("ignore", HeavyTail)  # the truth says how good the estimates are
    pixels = load_digits().data
    pca = PCA(LATENT_DIM, svd_solver="full").fit(pixels)
    x = torch.from_numpy(pixels)[: 4 if chosen.smoke else None]
    rows = []
    for name, result, images, seconds in estimates(pca, x, smoke=chosen.smoke):
        truth = torch.from_numpy(pca.score_samples(images.numpy()))
        rows.append({"method": name, **compared(result, truth), "core_seconds": seconds})
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in rows[-1].items()}, flush=True)
    annealing = {start: {**settings, "dtype": str(settings["dtype"])} for start, settings in ANNEALING.items()}
    about = {"latent_dim": LATENT_DIM, "guide_scale": GUIDE_SCALE, "annealing": annealing, "transitions": TRANSITIONS}
    save(chosen, {**about, "rows": rows})


if __name__ == "__main__":
    main()
