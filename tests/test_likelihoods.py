"""The contract of a likelihood, over every likelihood of `examples.LIKELIHOODS`, against the slow obvious way."""

import math

import pyro.distributions as dist
import pytest
import torch
from contracts import assert_gradients_reach_everything, assert_survives_a_file
from examples import LIKELIHOODS, stirred
from goodness_of_fit import assert_counts_fit, assert_sampler_fits_density
from torch import nn

from pyro_vae import Bernoulli, DiscretizedLogistic, Gaussian
from pyro_vae.likelihoods.discretized_logistic import DiscretizedLogisticDistribution

EVENT_SHAPE = (2, 3)


@pytest.fixture(params=LIKELIHOODS)
def make(request):
    return lambda event_shape=EVENT_SHAPE: stirred(LIKELIHOODS[request.param](event_shape))


def levels_of(likelihood):
    """All values of one pixel, or None for real values."""
    if isinstance(likelihood, DiscretizedLogistic):
        return torch.arange(likelihood.levels) / (likelihood.levels - 1)
    return torch.tensor([0.0, 1.0]) if isinstance(likelihood, Bernoulli) else None


def test_batch_is_the_images_and_event_the_shape_of_one(make):
    likelihood = make()
    px = likelihood(torch.randn(4, 5, *likelihood.feature_shape))
    assert (px.batch_shape, px.event_shape) == ((4, 5), EVENT_SHAPE)
    assert px.sample().shape == (4, 5, *EVENT_SHAPE)


def test_particles_are_scored_one_by_one(make):
    likelihood = make()
    h = torch.randn(4, 5, *likelihood.feature_shape)
    x = likelihood(h[0]).sample()
    one_by_one = torch.stack([torch.stack([likelihood(h[k, b]).log_prob(x[b]) for b in range(5)]) for k in range(4)])
    torch.testing.assert_close(likelihood(h).log_prob(x), one_by_one)


def test_its_own_draws_pass_the_check(make):
    likelihood = make()
    for scale in (0.1, 1.0, 30.0):
        x = likelihood(scale * torch.randn(50, *likelihood.feature_shape)).sample()
        likelihood.check(x)


def test_sampler_fits_the_probabilities(make):
    likelihood = make(2)
    px, levels = likelihood(0.3 * torch.randn(likelihood.feature_shape)), levels_of(likelihood)
    if levels is None:
        assert_sampler_fits_density(px)
        return
    draws = px.sample((20_000,))
    for pixel in range(2):
        probs = px.base_dist.log_prob(levels[:, None].expand(-1, 2))[:, pixel].double().exp()
        assert probs.sum().item() == pytest.approx(1, abs=1e-5)
        counts = (draws[:, pixel, None] == levels).sum(0).double()
        assert counts.sum() == len(draws)
        assert_counts_fit(counts, probs)


def test_mean_is_that_of_the_density(make):
    likelihood = make(1)
    px, levels = likelihood(torch.randn(likelihood.feature_shape)), levels_of(likelihood)
    points = torch.linspace(-12, 12, 20_001)[:, None] if levels is None else levels[:, None]
    weights = px.log_prob(points).double().softmax(0)
    torch.testing.assert_close(px.mean.double(), (weights @ points.double()).reshape(1), rtol=1e-4, atol=1e-4)


def test_gradients_reach_every_parameter_and_feature(make):
    likelihood = make()
    h = nn.Parameter(torch.randn(20, *likelihood.feature_shape))
    x = likelihood(torch.randn_like(h)).sample()
    module = nn.ParameterList([h, *likelihood.parameters()])
    assert_gradients_reach_everything(module, likelihood(h).log_prob(x).sum())
    assert (h.grad != 0).all()


def test_survives_a_file(make):
    def log_prob(likelihood):
        return likelihood(torch.full(likelihood.feature_shape, 0.3)).log_prob(torch.ones(EVENT_SHAPE))

    assert_survives_a_file(make, log_prob)


def test_follows_to_double_precision(make):
    likelihood = make().double()
    px = likelihood(torch.randn(5, *likelihood.feature_shape).double())
    assert px.log_prob(px.sample()).dtype == torch.float64


def test_data_of_another_shape_are_an_error(make):
    with pytest.raises(ValueError, match=r"Expected data of shape \(N, 2, 3\) for \w+; got \(5, 2, 4\)\."):
        make().check(torch.zeros(5, 2, 4))


# Bernoulli


def test_bernoulli_is_the_formula():
    h, x = torch.randn(5, *EVENT_SHAPE), (torch.rand(5, *EVENT_SHAPE) < 0.5).float()
    p = torch.sigmoid(h.double())
    expected = torch.where(x == 1, p, 1 - p).log().sum((1, 2))
    torch.testing.assert_close(Bernoulli(EVENT_SHAPE)(h).log_prob(x).double(), expected, rtol=1e-5, atol=1e-5)


def test_bernoulli_starts_at_the_datas_mean():
    mean = torch.tensor([0.0, 0.2, 0.9, 1.0])
    start = Bernoulli(4, mean=mean)(torch.zeros(4)).mean
    torch.testing.assert_close(start, torch.tensor([0.001, 0.2, 0.9, 0.999]))
    assert not list(Bernoulli(4, mean=mean).parameters())  # a start, not a second bias to train


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Bernoulli((2, 3), mean=torch.zeros(3, 2)), r"Expected mean of shape \(2, 3\); got \(3, 2\)\."),
        (
            lambda: Bernoulli(2).check(torch.tensor([[0.0, 0.5]])),
            r"Expected pixels that are 0 or 1 for Bernoulli; got 1 other values, such as 0\.5\. Grey .* binarize",
        ),
        (
            lambda: Gaussian(2).check(torch.tensor([[0.0, math.nan]])),
            r"Expected finite real values for Gaussian; got 1 other values, such as nan\. Remove",
        ),
        (lambda: Gaussian(2, scale="pixel"), r"Expected scale to be a number, 'shared' or 'per-pixel'; got 'pixel'\."),
        (lambda: Gaussian(2, scale=0.0), r"Expected scale > 0; got 0\.0\."),
        (lambda: Gaussian(2, scale=math.nan), r"Expected scale > 0; got nan\."),
        (lambda: Gaussian(2, min_scale=0.0), r"Expected min_scale > 0; got 0\.0\."),
        (lambda: DiscretizedLogistic(2, levels=1), r"Expected levels >= 2; got 1\."),
        (lambda: DiscretizedLogistic(2, min_scale=-1.0), r"Expected min_scale > 0; got -1\.0\."),
        (
            lambda: DiscretizedLogistic(2).check(torch.tensor([[0.0, 7.0], [0.5, 1.0]])),
            r"multiples of 1/255 in \[0, 1\] for DiscretizedLogistic; got 2 other values, such as 7\. Scale 8-bit",
        ),
    ],
)
def test_errors_say_what_was_expected(build, text):
    with pytest.raises(ValueError, match=text):
        build()


@pytest.mark.parametrize(
    ("likelihood", "text"),
    [
        (Bernoulli((2, 3)), "Bernoulli(event_shape=(2, 3))"),
        (Gaussian(4), "Gaussian(event_shape=(4,), scale='shared', min_scale=0.01)"),
        (DiscretizedLogistic(4, levels=16), "DiscretizedLogistic(event_shape=(4,), levels=16)"),
    ],
)
def test_repr(likelihood, text):
    assert repr(likelihood) == text


# Gaussian


@pytest.mark.parametrize("scale", [0.3, "shared", "per-pixel"])
def test_gaussian_is_the_formula(scale):
    likelihood = stirred(Gaussian(3, scale=scale, min_scale=0.2)).double()
    h, x = torch.randn(5, *likelihood.feature_shape).double(), torch.randn(5, 3).double()
    softplus = nn.functional.softplus
    loc, s = h, torch.tensor(0.3)
    if scale == "shared":
        s = 0.2 + softplus(likelihood.raw_scale)
    if scale == "per-pixel":
        loc, s = h[:, 0], 0.2 + softplus(h[:, 1])
    expected = (-0.5 * ((x - loc) / s).square() - s.log() - 0.5 * math.log(2 * math.pi)).sum(-1)
    torch.testing.assert_close(likelihood(h).log_prob(x), expected)


# Discretized logistic

EXTREMES = [
    (loc, scale)
    for loc in (-1e4, -3.0, 0.0, 0.4999, 1 / 255, 1.0, 2.0, 1e4, 1e8)
    for scale in (1e-6, 1e-3, 0.05, 1.0, 1e3, 1e7)
]


def logistic(loc, scale, *, levels=256, dtype=torch.float32):
    loc, scale = torch.tensor(loc, dtype=dtype), torch.tensor(scale, dtype=dtype)
    return DiscretizedLogisticDistribution(loc.requires_grad_(), scale.requires_grad_(), levels)


@pytest.mark.parametrize("levels", [2, 5, 256])
@pytest.mark.parametrize(("loc", "scale"), EXTREMES)
def test_levels_sum_to_one_at_any_parameters(loc, scale, levels):
    px = logistic(loc, scale, levels=levels)
    log_probs = px.log_prob(torch.arange(levels) / (levels - 1))
    assert log_probs.isfinite().all()
    assert log_probs.double().logsumexp(0).item() == pytest.approx(0, abs=1e-4)
    log_probs.sum().backward()
    assert px.loc.grad.isfinite()
    assert px.scale.grad.isfinite()


@pytest.mark.parametrize("scale", [0.002, 0.05, 1.0, 20.0])
@pytest.mark.parametrize("loc", [-0.2, 0.0, 0.3, 0.77, 1.1])
@pytest.mark.parametrize("levels", [2, 5, 256])
def test_each_level_is_the_difference_of_the_distribution_function(loc, scale, levels):
    """In float64, where the plain difference still has ten digits."""
    x = torch.arange(levels, dtype=torch.float64) / (levels - 1)
    half = 0.5 / (levels - 1)

    def below(t):  # F(t), from the tail in which it is exact
        return torch.sigmoid((t - loc) / scale)

    def above(t):
        return torch.sigmoid((loc - t) / scale)

    left = below(x + half) - torch.where(x < half, 0.0, below(x - half))
    right = torch.where(x > 1 - half, 0.0, -above(x + half)) + above(x - half)
    plain = torch.where(x < loc, left, right)
    plain[0], plain[-1] = below(x[0] + half), above(x[-1] - half)
    torch.testing.assert_close(logistic(loc, scale, levels=levels, dtype=torch.float64).log_prob(x).exp(), plain)


def test_a_tiny_scale_puts_everything_on_the_nearest_level():
    px = logistic(0.302, 1e-6, levels=11)
    assert px.sample().item() == pytest.approx(0.3)
    assert px.log_prob(torch.tensor(0.3)).item() == pytest.approx(0, abs=1e-6)
    assert px.mean.item() == pytest.approx(0.3)


def test_values_between_the_levels_are_refused():
    px = DiscretizedLogistic(2, levels=5)(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="within the support"):
        px.log_prob(torch.tensor([0.25, 0.3]))
    assert px.log_prob(torch.tensor([0.25, 0.75])).isfinite()


def test_eight_bit_images_are_in_the_support_to_rounding():
    levels = torch.arange(256, dtype=torch.uint8)
    for grey in (levels / 255, levels.float().mul(1 / 255), (levels.double() / 255).float()):
        DiscretizedLogistic(256).check(grey[None])


def test_expanding_keeps_the_levels():
    px = logistic(0.3, 0.1, levels=5).expand([4, 3])
    assert px.batch_shape == (4, 3)
    assert px.levels == 5
    assert px.sample((2,)).shape == (2, 4, 3)
    assert isinstance(px.to_event(1), dist.Independent)
