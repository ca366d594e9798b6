"""Paired comparison of models evaluated on the same images."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import scipy.special
import torch
from torch import Tensor

from .result import LogMarginal


@dataclass(frozen=True)
class Estimate:
    """A number in nats per image, and its 95% interval."""

    value: float
    standard_error: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


@dataclass(frozen=True, repr=False)
class Comparison:
    """Result of `compare`: nats per image; higher log p(x) is better.

    Attributes:
        log_marginal: by name, the mean log p(x) over images and seeds, its interval over both.
        differences: by pair of names (a, b), the mean of log p_a(x) - log p_b(x), its interval over both.
        num_seeds: by name, how many runs there were.
        num_images: how many images all runs were evaluated on.
        num_samples: the smallest number of samples for each image.
        smallest_ess: by name, the smallest effective sample size of any image in any run.
        monte_carlo_error: by name, the Monte Carlo standard error of the mean log p(x) over images and seeds.
    """

    log_marginal: dict[str, Estimate]
    differences: dict[tuple[str, str], Estimate]
    num_seeds: dict[str, int]
    num_images: int
    num_samples: int
    smallest_ess: dict[str, float]
    monte_carlo_error: dict[str, float]

    @property
    def over(self) -> str:
        """What the intervals are over: seeds count only where each model has at least two."""
        return "images and seeds" if min(self.num_seeds.values()) > 1 else "images alone (one seed)"

    def __repr__(self) -> str:
        means = ", ".join(f"{name} {mean}" for name, mean in self.log_marginal.items())
        return f"Comparison(mean log p(x), nats: {means}; 95% intervals over {self.over}, {self.num_images:,} images)"


def compare(evaluations: Mapping[str, Sequence[LogMarginal]]) -> Comparison:
    """Compare models by their log p(x) of the same images, image by image.

    With y[s, i] the log p(x_i) of seed s, the difference of two models is the mean of ybar_a[i] - ybar_b[i] over the
    images, ybar the mean over seeds. Its variance is var_i(ybar_a - ybar_b) / N + var_s(ybar_a) / S_a +
    var_s(ybar_b) / S_b: images are shared by both models, seeds are not. The interaction of images and seeds is counted
    twice, which makes intervals a little too wide rather than too narrow. Intervals are Student's t with the degrees of
    freedom of Welch and Satterthwaite. Two seeds are too few for those where runs differ more than images tell: of
    1,500 simulated means with standard errors 0.7 from two seeds and 0.3 from 100 images 89% were covered, of
    differences 98%; with three seeds 94% of means. With a single seed the interval is over images alone and says
    nothing about another training run; the ``shared_error`` of its result, which no spread over images shows, is added.
    Several seeds show theirs in their spread.

    Args:
        evaluations: by name of the model, the results of its seeds, all on the same images in the same order.

    Returns:
        Comparison, nats per image.

    Raises:
        ValueError: fewer than two images, no model, a model without results, different numbers of images, or a log p(x)
            that is not finite.

    Reference:
        Satterthwaite 1946, "An approximate distribution of estimates of variance components"; Owen 2007, "The
        pigeonhole bootstrap" (two crossed random effects).

    Example:
        >>> def result(log_prob):
        ...     none, ten = torch.zeros(3), torch.full((3,), 10)
        ...     return LogMarginal(torch.tensor(log_prob).double(), none, ess=ten, khat=none, num_samples=ten)
        >>> a = [result([-1.0, -2.0, -3.0]), result([-1.1, -2.0, -3.1])]
        >>> b = [result([-2.0, -3.1, -4.0]), result([-2.1, -3.1, -3.9])]
        >>> print(compare({"a": a, "b": b}).differences["a", "b"])
        1.00 [0.78, 1.22]
    """
    if not evaluations or any(not results for results in evaluations.values()):
        raise ValueError(f"Expected at least one evaluation for each model; got {[*map(len, evaluations.values())]}.")
    counts = sorted({len(result) for results in evaluations.values() for result in results})
    if len(counts) > 1 or counts[0] < 2:
        raise ValueError(
            f"Expected all runs evaluated on the same images, at least 2; got numbers of images {counts}. "
            f"Evaluate them again with the same --data, --num-images and seeds."
        )
    log_probs = {name: torch.stack([r.log_prob for r in results]) for name, results in evaluations.items()}  # (S, N)
    for name, table in log_probs.items():
        if not table.isfinite().all():
            raise ValueError(
                f"Expected a finite log p(x) for every image; got {int((~table.isfinite()).sum())} others for {name}. "
                f"Evaluate that run with more samples, or look at it."
            )
    names = list(evaluations)
    shared = {name: results[0].shared_error if len(results) == 1 else 0.0 for name, results in evaluations.items()}
    return Comparison(
        log_marginal={name: _estimate(log_probs[name], shared=shared[name]) for name in names},
        differences={
            (a, b): _estimate(log_probs[a], log_probs[b], shared=math.hypot(shared[a], shared[b]))
            for a, b in itertools.combinations(names, 2)
        },
        num_seeds={name: len(log_probs[name]) for name in names},
        num_images=counts[0],
        num_samples=min(int(r.num_samples.min()) for results in evaluations.values() for r in results),
        smallest_ess={name: min(r.ess.min().item() for r in evaluations[name]) for name in names},
        monte_carlo_error={
            name: math.sqrt(sum(r.mean_monte_carlo_error**2 for r in results)) / len(results)
            for name, results in evaluations.items()
        },
    )


def require_one_kind(measures: Mapping[str, str]) -> None:
    """Refuse a comparison of densities with probabilities, given which each model has by its name.

    Raises:
        ValueError: both kinds are among them; names them.
    """
    kinds = {measure: [name for name in measures if measures[name] == measure] for measure in measures.values()}
    plural = {"density": "densities", "probability": "probabilities"}
    if len(kinds) > 1:
        both = " and ".join(f"{plural[measure]} ({', '.join(kinds[measure])})" for measure in sorted(kinds))
        raise ValueError(
            f"Expected log p(x) of one kind; got {both} of the same images, whose difference means nothing. Compare "
            f"likelihoods of one kind."
        )


def _estimate(table: Tensor, minus: Tensor | None = None, *, shared: float) -> Estimate:
    """Mean over seeds and images of a table (S, N), or of its difference to another, with the interval over both and
    over an error that all images share."""
    tables = [table] if minus is None else [table, minus]
    by_image = table.mean(0) if minus is None else table.mean(0) - minus.mean(0)
    parts: list[tuple[float, float]] = [(by_image.var().item() / len(by_image), len(by_image) - 1)]
    parts += [(t.mean(1).var().item() / len(t), len(t) - 1) for t in tables if len(t) > 1]
    parts += [(shared**2, math.inf)]
    variance = sum(part for part, _ in parts)
    if variance == 0:
        return Estimate(by_image.mean().item(), 0.0, by_image.mean().item(), by_image.mean().item())
    freedom = variance**2 / sum(part**2 / degrees for part, degrees in parts)
    half = scipy.special.stdtrit(freedom, 0.975) * math.sqrt(variance)
    mean = by_image.mean().item()
    return Estimate(mean, math.sqrt(variance), mean - half, mean + half)
