"""Do the estimates of log p(x) and their intervals hold where the truth is known?

python experiments/evidence/coverage.py

Probabilistic PCA, fitted by scikit-learn to its digits, is a linear-Gaussian model/guide pair whose posterior and
log p(x) have closed forms. First, each estimator against `PCA.score_samples` on every image. Second, how often the
nominal 95% interval of `log_marginal`, log_prob +- 1.96 standard_error, holds the truth, for guides from good to bad:
the exact posterior with its scale multiplied. Below 1 the weights have a tail of index k = 1 - scale^2, and there is no
variance from k = 1/2 on.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from matplotlib.figure import Figure
from setting import arguments, save, timed
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import Tensor

from pyro_vae import HeavyTail, LogMarginal, annealed_log_marginal, bidirectional, log_marginal, widened

LATENT_DIM = 10
GUIDE_SCALE = 1.1  # of the guide that the estimators are compared with
REPETITIONS = 2000
SCALES = (1.1, 1.5, 0.9, 0.8, 0.7, 0.5)  # of the guides, times that of the posterior
SAMPLES = {100: SCALES, 1000: SCALES, 10_000: (1.5, 0.7, 0.5)}
ANNEALING = {"num_chains": 32, "num_leapfrog": 3, "chunk_size": 20_000, "compile": False}
STARTS = {  # the prior is farther away: more temperatures, and fewer images to save time
    "guide": {"num_temperatures": 20, "images": None, "simulated": 200},
    "prior": {"num_temperatures": 400, "images": 200, "simulated": 100},
}
NORMAL_95 = 1.96
# Where the guides are named in the figure, in points from their marks.
LABELS = {1.1: (-6, -14), 1.5: (-22, -14), 0.9: (0, 7), 0.8: (6, 4), 0.7: (8, 2), 0.5: (8, -3)}


class ProbabilisticPCA:
    """z ~ Normal(0, I), x ~ Normal(W z + mean, s^2 I) with the parameters of a fitted PCA; float64."""

    def __init__(self, pca: PCA, scale: float) -> None:
        noise = pca.noise_variance_
        self.weight = torch.from_numpy(pca.components_.T * np.sqrt(pca.explained_variance_ - noise))  # (64, D)
        self.mean, self.noise = torch.from_numpy(pca.mean_), torch.tensor(math.sqrt(noise), dtype=torch.float64)
        # The components are orthogonal: so is the posterior's precision, I + W'W / s^2, diagonal.
        self.variance = 1 / (1 + self.weight.square().sum(0) / noise)
        self.scale = scale

    def model(self, x: Tensor) -> None:
        """p(x, z)"""
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(self.variance), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.weight.T + self.mean, self.noise).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        """The exact posterior, its scale multiplied."""
        loc = (x - self.mean) @ self.weight * self.variance / self.noise**2
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(loc, self.scale * self.variance.sqrt()).to_event(1))


def compared(name: str, result: LogMarginal, truth: Tensor, seconds: float) -> dict:
    """Deviations from the truth in standard errors of each image's own."""
    error = result.log_prob - truth
    deviation = error / result.standard_error
    return {
        "method": name,
        "num_images": len(truth),
        "num_samples": int(result.num_samples[0]),
        "mean_standard_error": result.standard_error.mean().item(),
        "mean_error": error.mean().item(),
        "rms_deviation": deviation.square().mean().sqrt().item(),
        "largest_deviation": deviation.abs().max().item(),
        "share_within_1.96": (deviation.abs() < NORMAL_95).double().mean().item(),
        "core_seconds": seconds,
    }


def agreement(pca: PCA, x: Tensor, *, smoke: bool) -> list[dict]:
    """Each estimator on every image."""
    pair = ProbabilisticPCA(pca, GUIDE_SCALE)
    truth = torch.from_numpy(pca.score_samples(x.numpy()))
    proposals = {
        "importance": (pair.guide, 0.0),
        "importance, widened 1.2": (widened(pair.guide, 1.2), 0.0),
        "importance, defensive 0.1": (pair.guide, 0.1),
    }
    rows = []
    for name, (guide, defensive) in proposals.items():
        with timed() as time:
            result = log_marginal(pair.model, guide, x, defensive=defensive, compile=False)
        rows.append(compared(name, result, truth, time["core_seconds"]))
    for start, settings in list(STARTS.items())[: 1 if smoke else None]:
        annealing = {**ANNEALING, "start": start, "num_temperatures": 5 if smoke else settings["num_temperatures"]}
        some = x[: settings["images"]]
        with timed() as time:
            result = annealed_log_marginal(pair.model, pair.guide, some, **annealing)
        rows.append(compared(f"annealed from {start}", result, truth[: len(some)], time["core_seconds"]))
        with timed() as time:
            both = bidirectional(pair.model, pair.guide, x[: settings["simulated"]], **annealing)
        its_truth = torch.from_numpy(pca.score_samples(both.x.numpy()))
        for side, result in (("lower", both.lower), ("upper", both.upper)):
            rows.append(compared(f"bidirectional from {start}, {side}", result, its_truth, time["core_seconds"]))
    for line in rows:
        print({key: round(value, 4) if isinstance(value, float) else value for key, value in line.items()}, flush=True)
    return rows


def share(mask: Tensor) -> tuple[float, float]:
    """Of True, with its binomial standard error."""
    p = mask.double().mean().item()
    return p, math.sqrt(max(p * (1 - p), 1 / len(mask)) / len(mask))


def coverage(pca: PCA, x: Tensor, scale: float, num_samples: int) -> dict:
    """How often the interval holds the truth; all images are alike: log w - log p(x) has one law for them all."""
    pair = ProbabilisticPCA(pca, scale)
    result = log_marginal(pair.model, pair.guide, x, num_samples=num_samples, compile=False)
    error = result.log_prob - torch.from_numpy(pca.score_samples(x.numpy()))
    covered, heavy = error.abs() < NORMAL_95 * result.standard_error, result.khat > 0.7
    found, its_error = share(covered)
    row = {
        "guide": f"posterior, scale x {scale}",
        "scale": scale,
        "num_samples": num_samples,
        "repetitions": len(x),
        "coverage": found,
        "coverage_standard_error": its_error,
        "mean_khat": result.khat.mean().item(),
        "share_with_khat_above_0.7": heavy.double().mean().item(),
        "median_ess": result.ess.median().item(),
        "mean_standard_error": result.standard_error.mean().item(),
        "true_standard_error": error.std().item(),
        "bias": error.mean().item(),
        "bias_standard_error": error.std().item() / math.sqrt(len(x)),
        "too_low": (error < -NORMAL_95 * result.standard_error).double().mean().item(),
        "too_high": (error > NORMAL_95 * result.standard_error).double().mean().item(),
    }
    for name, mask in (("where_khat_is_above_0.7", heavy), ("where_khat_is_at_most_0.7", ~heavy)):
        row[f"coverage_{name}"] = covered[mask].double().mean().item() if mask.sum() >= 20 else None
    print({key: round(value, 4) if isinstance(value, float) else value for key, value in row.items()}, flush=True)
    return row


def figure(rows: list[dict]) -> Figure:
    """Coverage against mean k-hat, one line for each number of samples."""
    drawn = Figure(figsize=(6.4, 4.2), layout="constrained")
    axes = drawn.subplots()
    axes.set_title("guide: the exact posterior, its scale multiplied", fontsize=10)
    axes.axhspan(0.93, 0.97, color="#2f6fb0", alpha=0.12, linewidth=0)
    axes.axvline(0.7, color="#9aa3ab", linewidth=0.8, linestyle="--")
    axes.text(0.71, 0.98, "k-hat 0.7", color="#6b747c", fontsize=8)
    counts = sorted({row["num_samples"] for row in rows})
    for count, colour in zip(counts, ("#9aa3ab", "#2f6fb0", "#222222"), strict=False):
        line = sorted((row for row in rows if row["num_samples"] == count), key=lambda row: row["mean_khat"])
        khat, covered = [row["mean_khat"] for row in line], [row["coverage"] for row in line]
        error = [NORMAL_95 * row["coverage_standard_error"] for row in line]
        label = f"{count:,} samples"
        axes.errorbar(
            khat,
            covered,
            error,
            fmt="o-" if len(line) > 3 else "o",
            markersize=4,
            color=colour,
            linewidth=1.3,
            label=label,
        )
        for row in line if count == 1000 else ():
            at, shift = (row["mean_khat"], row["coverage"]), LABELS[row["scale"]]
            axes.annotate(f"x {row['scale']}", at, shift, textcoords="offset points", fontsize=8, color=colour)
    axes.set(xlabel="mean k-hat", ylabel="coverage of the nominal 95% interval", xlim=(None, 1.12), ylim=(None, 1.005))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="lower left")
    return drawn


def main() -> None:
    """Compare, repeat, draw, save."""
    chosen = arguments("evidence_coverage", __doc__.splitlines()[0])
    warnings.simplefilter("ignore", HeavyTail)  # guides too narrow are the point
    pixels = load_digits().data
    pca = PCA(LATENT_DIM, svd_solver="full").fit(pixels)
    x = torch.from_numpy(pixels)
    repeated = x[torch.arange(REPETITIONS) % len(x)]  # a copy of an image has draws of its own
    samples = SAMPLES
    if chosen.smoke:
        x, repeated, samples = x[:4], repeated[:50], {100: SCALES}
    agree = agreement(pca, x, smoke=chosen.smoke)
    rows = [coverage(pca, repeated, scale, count) for count, scales in samples.items() for scale in scales]
    save(chosen, {"latent_dim": LATENT_DIM, "annealing": {**ANNEALING, **STARTS}, "agreement": agree, "rows": rows})
    figure(rows).savefig(chosen.out.with_suffix(".png"), dpi=130)


if __name__ == "__main__":
    main()
