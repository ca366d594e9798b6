"""How often do intervals of log p(x) hold the truth? python experiments/evidence/coverage.py

The nominal 95% interval of `log_marginal`, log_prob +- 1.96 standard_error, for probabilistic PCA, whose log p(x) has a
closed form, and guides from good to bad: the exact posterior with its scale multiplied. Below 1 the weights have a tail
of index k = 1 - scale^2, and there is no variance from k = 1/2 on.
"""

from __future__ import annotations

import math
import warnings

import torch
from matplotlib.figure import Figure
from pca import ProbabilisticPCA
from setting import arguments, save
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import Tensor

from pyro_vae import HeavyTail, log_marginal

LATENT_DIM = 10
REPETITIONS = 2000
SCALES = (1.1, 1.5, 0.9, 0.8, 0.7, 0.5)  # of the guides, times that of the posterior
SAMPLES = {100: SCALES, 1000: SCALES, 10_000: (1.5, 0.7, 0.5)}
NORMAL_95 = 1.96
# Where the guides are named in the figure, in points from their marks.
LABELS = {1.1: (-6, -14), 1.5: (-22, -14), 0.9: (0, 7), 0.8: (6, 4), 0.7: (8, 2), 0.5: (8, -3)}


def share(mask: Tensor) -> tuple[float, float]:
    """Of True, with its binomial standard error."""
    p = mask.double().mean().item()
    return p, math.sqrt(max(p * (1 - p), 1 / len(mask)) / len(mask))


def coverage(pca: PCA, x: Tensor, scale: float, num_samples: int) -> dict:
    """How often the interval holds the truth; all images are alike: log w - log p(x) has one law for them all."""
    pair = ProbabilisticPCA(pca, scale)
    result = log_marginal(pair.model, pair.guide, x, num_samples=num_samples, compile=False, estimator="guide")
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
        repeated, samples = repeated[:50], {100: SCALES}
    rows = [coverage(pca, repeated, scale, count) for count, scales in samples.items() for scale in scales]
    save(chosen, {"latent_dim": LATENT_DIM, "rows": rows})
    figure(rows).savefig(chosen.out.with_suffix(".png"), dpi=130)


if __name__ == "__main__":
    main()
