"""The shape of the tail of importance weights, k-hat."""

from __future__ import annotations

import math

import torch
from torch import Tensor

EQUAL = 1e-4  # relative difference of weights that float32 cannot tell from none
LEAST = 5  # of the largest weights, below which no tail is fitted


def tail_length(num_samples: int) -> int:
    """How many of the largest weights make the tail: min(S / 5, 3 sqrt(S))."""
    return int(min(num_samples / 5, 3 * math.sqrt(num_samples)))


def pareto_khat(largest: Tensor) -> Tensor:
    """Shape k of a generalized Pareto distribution fitted to the largest weights of each data point.

    The fit of Zhang and Stephens, with the weakly informative prior of Pareto-smoothed importance sampling that draws k
    towards 0.5. All data points are fitted at once.

    Args:
        largest: log weights (M + 1, N), the M of the tail and the next one, which is its threshold; any order.

    Returns:
        k-hat (N,), float64. With k < 1/2 the weights have a variance, with k < 1 a mean. 0.7 is the usual limit of
        trust. nan where M < 5, where a weight is not a number, and where at least a quarter of the tail equals its
        threshold, so that there is nothing to fit: weights of discrete latents are few different numbers. -inf where
        all weights of the tail are equal up to rounding; inf where the tail begins at weight zero.

    Reference:
        Zhang, Stephens 2009, "A new and efficient estimation method for the generalized Pareto distribution"; Vehtari,
        Simpson, Gelman, Yao, Gabry 2024, "Pareto smoothed importance sampling".

    Example:
        >>> weights = torch.arange(1, 102).double() / 102
        >>> heavy = -0.9 * torch.log(weights)[:, None]  # quantiles of a Pareto distribution with k = 0.9
        >>> round(pareto_khat(heavy).item(), 1)
        0.8
    """
    largest = largest.double().sort(0).values
    count = len(largest) - 1
    if count < LEAST:
        return torch.full(largest.shape[1:], math.nan, dtype=torch.float64, device=largest.device)
    reference = torch.where(largest[-1].isfinite(), largest[-1], 0.0)
    threshold = (largest[0] - reference).exp()
    tail = (largest[1:] - reference).exp() - threshold  # (M, N), ascending, exceedances
    # Candidates b_j of -k / sigma, around the data's own scale; then k by maximum likelihood given b.
    num_candidates = 30 + int(math.sqrt(count))
    j = torch.arange(1, num_candidates + 1, dtype=torch.float64, device=tail.device)[:, None]
    quartile = tail[max(int(count / 4 + 0.5) - 1, 0)].clamp(min=torch.finfo(torch.float64).tiny)
    b = 1 / tail[-1] + (1 - (num_candidates / (j - 0.5)).sqrt()) / (3 * quartile)  # (J, N)
    k = torch.stack([torch.log1p(-row * tail).mean(0) for row in b])  # (J, N); at once, (J, M, N) would be large
    log_likelihood = count * ((-b / k).log() - k - 1)
    weight = (log_likelihood - log_likelihood.logsumexp(0)).exp()
    weight = torch.where(weight >= 10 * torch.finfo(torch.float64).eps, weight, 0.0)
    best = (b * weight).sum(0) / weight.sum(0)
    khat = torch.log1p(-best * tail).mean(0)
    khat = (count * khat + 10 * 0.5) / (count + 10)
    khat = torch.where(quartile < EQUAL * torch.minimum(threshold, tail[-1]), math.nan, khat)
    khat = torch.where(tail[-1] < EQUAL, -math.inf, khat)
    khat = torch.where(largest[0].isneginf() & largest[-1].isfinite(), math.inf, khat)
    return torch.where(largest.isnan().any(0) | largest[-1].isinf(), math.nan, khat)
