"""Variables rounded to grey levels, and their mixtures: at any parameters, in any tail."""

import itertools
import math

import pytest
import scipy.stats
import torch
from goodness_of_fit import assert_counts_fit
from torch import nn

from pyro_vae import DiscretizedGaussian, DiscretizedLogistic, DiscretizedLogisticMixture
from pyro_vae.distributions.rounded import LOGISTIC, NORMAL, Rounded

EXTREMES = [
    (loc, scale)
    for loc in (-1e4, -3.0, 0.0, 0.4999, 1 / 255, 1.0, 2.0, 1e4, 1e8)
    for scale in (1e-6, 1e-3, 0.05, 1.0, 1e3, 1e7)
]
FAMILIES = {"logistic": LOGISTIC, "normal": NORMAL}
SCIPY = {"logistic": scipy.stats.logistic, "normal": scipy.stats.norm}


def rounded(loc, scale, *, family="logistic", levels=256, dtype=torch.float32):
    loc, scale = torch.as_tensor(loc, dtype=dtype), torch.as_tensor(scale, dtype=dtype)
    return Rounded(loc.requires_grad_(), scale.requires_grad_(), levels, FAMILIES[family])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("levels", [2, 5, 256])
def test_levels_sum_to_one_at_any_parameters(levels, family):
    px = rounded(*torch.tensor(EXTREMES).T[..., None], levels=levels, family=family)
    log_probs = px.log_prob(torch.arange(levels) / (levels - 1))  # (parameters, levels)
    assert log_probs.isfinite().all()
    torch.testing.assert_close(log_probs.double().logsumexp(1), torch.zeros(len(EXTREMES)).double(), rtol=0, atol=1e-4)
    log_probs.sum().backward()
    assert px.loc.grad.isfinite().all()
    assert px.scale.grad.isfinite().all()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("levels", [2, 5, 256])
def test_each_level_is_the_difference_of_the_distribution_function(levels, family):
    """In float64, from the nearer tail, where the plain difference still has ten digits."""
    x = torch.arange(levels, dtype=torch.float64) / (levels - 1)
    edges = torch.cat([torch.tensor([-math.inf]), (x[1:] + x[:-1]) / 2, torch.tensor([math.inf])]).double()
    for loc, scale in itertools.product([-0.2, 0.0, 0.3, 0.77, 1.1], [0.002, 0.05, 1.0, 20.0]):
        truth = SCIPY[family](loc, scale)
        below, above = torch.tensor(truth.cdf(edges)), torch.tensor(truth.sf(edges))
        plain = torch.where(x < loc, below.diff(), -above.diff())
        found = rounded(loc, scale, levels=levels, family=family, dtype=torch.float64).log_prob(x).exp()
        torch.testing.assert_close(found, plain, rtol=1e-7, atol=1e-14)


def test_far_normal_levels_have_the_right_logarithm_and_gradient_in_float32():
    """Where probabilities underflow: log P from SciPy's log tails in float64, gradients from float64."""
    x = torch.arange(1, 255) / 255
    for loc, scale in ((-3.0, 0.05), (0.2, 0.01), (2.0, 0.1), (0.5, 30.0)):
        single, double = (rounded(loc, scale, family="normal", dtype=t) for t in (torch.float32, torch.float64))
        low, high = (abs(x.double() - loc) - 0.5 / 255) / scale, (abs(x.double() - loc) + 0.5 / 255) / scale
        log_low, log_high = (torch.tensor(scipy.stats.norm.logsf(t.numpy())) for t in (low, high))
        truth = log_low + torch.log(-torch.expm1(log_high - log_low))
        torch.testing.assert_close(double.log_prob(x.double()), truth, rtol=1e-7, atol=1e-7)
        torch.testing.assert_close(single.log_prob(x).double(), truth, rtol=2e-5, atol=2e-5)
        for px in (single, double):
            px.log_prob(x.to(px.loc)).sum().backward()
        torch.testing.assert_close(single.loc.grad.double(), double.loc.grad, rtol=1e-3, atol=1e-2)
        torch.testing.assert_close(single.scale.grad.double(), double.scale.grad, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_tiny_scale_puts_everything_on_the_nearest_level(family):
    px = rounded(0.302, 1e-6, levels=11, family=family)
    assert px.sample().item() == pytest.approx(0.3)
    assert px.log_prob(torch.tensor(0.3)).item() == pytest.approx(0, abs=1e-6)
    assert px.mean.item() == pytest.approx(0.3)


@pytest.mark.parametrize("likelihood", [DiscretizedLogistic, DiscretizedGaussian])
def test_values_between_the_levels_are_refused(likelihood):
    px = likelihood(2, levels=5)(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="within the support"):
        px.log_prob(torch.tensor([0.25, 0.3]))
    assert px.log_prob(torch.tensor([0.25, 0.75])).isfinite()


def test_eight_bit_images_are_in_the_support_to_rounding():
    levels = torch.arange(256, dtype=torch.uint8)
    likelihood = DiscretizedLogistic(256)
    for grey in (levels / 255, levels.float().mul(1 / 255), (levels.double() / 255).float()):
        assert likelihood.support.check(grey).all()
        assert likelihood(torch.zeros(1, 2, 256)).log_prob(grey[None]).isfinite().all()


# Mixtures


def test_a_mixture_of_one_is_the_discretized_logistic():
    one, h = DiscretizedLogisticMixture((1, 2, 3), components=1), torch.randn(3, 5, 1, 2, 3)
    alone = DiscretizedLogistic((1, 2, 3))(h[1:].movedim(0, 1))  # the first plane is its weight, 1 at any feature
    x = alone.sample()
    torch.testing.assert_close(one(h.movedim(0, 1)).log_prob(x), alone.log_prob(x))


def test_a_mixture_is_the_weighted_sum_of_its_components():
    likelihood = DiscretizedLogisticMixture(2, components=3, levels=9)
    h, x = torch.randn(9, 2), torch.tensor([0.25, 1.0])
    logits, loc, raw = h.view(3, 3, 2)
    start = torch.tensor([1, 3, 5])[:, None] / 6
    scale = 0.1 / 8 + nn.functional.softplus(raw - 2.25)
    parts = Rounded(loc + start, scale, 9, LOGISTIC).log_prob(x).exp()
    expected = (logits.softmax(0) * parts).sum(0).log().sum()
    torch.testing.assert_close(likelihood(h).log_prob(x), expected)


def colour(*, components=2, levels=3, coupling=None):
    likelihood = DiscretizedLogisticMixture((3, 1, 1), components=components, levels=levels)
    h = torch.randn(10, components)
    if coupling is not None:
        h[7:] = coupling
    return likelihood(h.view(10 * components, 1, 1)), h


def test_colours_sum_to_one_and_are_drawn_with_their_probabilities():
    px, _ = colour()
    colours = torch.tensor([*itertools.product((0.0, 0.5, 1.0), repeat=3)])
    probs = px.log_prob(colours.view(27, 3, 1, 1)).double().exp()
    assert probs.sum().item() == pytest.approx(1, abs=1e-5)
    draws = px.sample((20_000,)).view(-1, 1, 3)
    assert_counts_fit((draws == colours).all(-1).sum(0).double(), probs)


def test_uncoupled_colours_are_three_discretized_logistics():
    px, h = colour(components=1, levels=256, coupling=0.0)
    alone = DiscretizedLogistic(3)(torch.stack([h[1:4, 0], h[4:7, 0]]))
    x = alone.sample((5,))
    torch.testing.assert_close(px.log_prob(x.view(5, 3, 1, 1)), alone.log_prob(x))
    torch.testing.assert_close(px.mean.flatten(), alone.mean)  # exact where nothing is coupled


def test_each_colour_depends_on_those_before_it():
    """Red moves green by its coefficient, red and green move blue: P(pixel) is the product of the three."""
    px, h = colour(components=1, levels=256)
    x = torch.tensor([10.0, 200.0, 90.0]) / 255
    (gr, br, bg), (r, g) = torch.tanh(h[7:, 0]), x[:2] - 0.5
    loc = 0.5 + h[1:4, 0] + torch.stack([torch.zeros(()), gr * r, br * r + bg * g])
    scale = 0.1 / 255 + nn.functional.softplus(h[4:7, 0] - 2.25)
    torch.testing.assert_close(px.log_prob(x.view(3, 1, 1)), Rounded(loc, scale, 256, LOGISTIC).log_prob(x).sum())


@pytest.mark.parametrize("family", [LOGISTIC, NORMAL])
def test_moments_are_those_of_the_levels(family):
    """At any place and scale, in and beyond [0, 1]: sums over all levels of their probabilities."""
    loc = torch.linspace(-0.3, 1.3, 9, dtype=torch.float64)[:, None].expand(9, 5)
    px = Rounded(loc, torch.logspace(-3, 0.5, 5, dtype=torch.float64).expand(9, 5), 33, family)
    levels = torch.arange(33, dtype=torch.float64)[:, None, None] / 32
    probs = px.log_prob(levels.expand(33, 9, 5)).exp()
    mean = (probs * levels).sum(0)
    torch.testing.assert_close(px.mean, mean)
    torch.testing.assert_close(px.variance, (probs * (levels - mean).square()).sum(0))
