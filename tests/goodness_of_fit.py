"""Whether a sampler draws from the density that belongs to it, and whether that density is one."""

import math

import scipy.stats
import torch

FAILURE_RATE = 2e-5  # of one test, suite-wide: a p-value below it is a failure


@torch.no_grad()
def assert_sampler_fits_density(distribution, *, num_samples=20_000, within=(-math.inf, math.inf), fine=15):
    """A density over two values integrates to 1, and Pearson's chi^2 test finds its draws in the right cells.

    The grid spans the draws with a wide margin (cut at the bounds of the support, `within`); were they in the wrong
    place, the density would not integrate to 1 over it. The probability of each of 40 x 40 cells is the integral of the
    density over it, from fine x fine points; all that lies outside the grid counts as one cell.
    """
    draws = distribution.sample((num_samples,)).reshape(num_samples, 2).double()
    span = draws.amax(0) - draws.amin(0)
    low, high = (draws.amin(0) - 0.3 * span).clamp(min=within[0]), (draws.amax(0) + 0.3 * span).clamp(max=within[1])
    axes = [
        a + (b - a) * (torch.arange(40 * fine).double() + 0.5) / (40 * fine) for a, b in zip(low, high, strict=True)
    ]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    log_prob = distribution.log_prob(points.to(torch.get_default_dtype()))
    density = log_prob.double().exp() * ((high - low) / (40 * fine)).prod()
    assert abs(density.sum() - 1) < 1e-3

    probs = density.reshape(40, fine, 40, fine).sum((1, 3)).flatten()
    cell = ((draws - low) / (high - low) * 40).long().clamp(max=39)
    counts = torch.bincount(cell[:, 0] * 40 + cell[:, 1], minlength=1600).double()
    outside = (1 - probs.sum()).clamp(min=0)[None]
    assert_counts_fit(torch.cat([counts, torch.zeros(1).double()]), torch.cat([probs, outside]))


def assert_counts_fit(counts, probs):
    """Counts of all draws, by cell, against the cells' probabilities; cells with few expected draws count as one.

    SciPy's chi^2 test, not pyro.distributions.testing.gof: chi2sf there gives 1 in the far tail of many degrees of
    freedom (chi2sf(816, 250) == 1; it is 3e-61), so that a gross misfit would pass.
    """
    total = counts.sum().item()
    probs, order = probs.sort()
    counts = counts[order]
    few = (probs.cumsum(0) * total < 20).sum() + 1  # all before the first cell that reaches 20 draws, and that one
    probs = torch.cat([probs[:few].sum()[None], probs[few:]])
    counts = torch.cat([counts[:few].sum()[None], counts[few:]])
    assert len(probs) > 1
    assert scipy.stats.chisquare(counts.numpy(), (total * probs / probs.sum()).numpy()).pvalue > FAILURE_RATE


def assert_within_standard_errors(draws, truth, *, errors=5.0):
    """The mean of independent draws (N,) lies within 5 of its standard errors of the truth."""
    draws = draws.double()
    standard_error = draws.std().item() / len(draws) ** 0.5
    assert abs(draws.mean().item() - truth) < errors * standard_error + 1e-9, (draws.mean(), truth, standard_error)
