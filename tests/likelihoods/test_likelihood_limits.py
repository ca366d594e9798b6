"""Formulas, limits and starting points of single likelihoods, against SciPy and against each other."""

import math

import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from examples import stirred
from torch import nn

from pyro_vae import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    Laplace,
    LowRankGaussian,
    NegativeBinomial,
    Poisson,
    StudentT,
    VonMises,
    ZeroInflatedNegativeBinomial,
    bits_per_dim,
    dequantize,
)
from pyro_vae.distributions.gamma_ratio import log_gamma_ratio
from pyro_vae.likelihoods.negative_binomial import StableNegativeBinomial
from pyro_vae.likelihoods.student_t import StableStudentT

COUNTS = torch.tensor([0.0, 1.0, 2.0, 7.0, 40.0])


def test_bernoulli_is_the_formula():
    h, x = torch.randn(5, 2, 3), (torch.rand(5, 2, 3) < 0.5).float()
    p = torch.sigmoid(h.double())
    expected = torch.where(x == 1, p, 1 - p).log().sum((1, 2))
    torch.testing.assert_close(Bernoulli((2, 3))(h).log_prob(x).double(), expected, rtol=1e-5, atol=1e-5)


def test_bernoulli_starts_at_the_datas_mean():
    mean = torch.tensor([0.0, 0.2, 0.9, 1.0])
    start = Bernoulli(4, mean=mean)(torch.zeros(4)).mean
    torch.testing.assert_close(start, torch.tensor([0.001, 0.2, 0.9, 0.999]))
    assert not list(Bernoulli(4, mean=mean).parameters())  # a start, not a second bias to train


@pytest.mark.parametrize("likelihood", [Poisson, NegativeBinomial])
def test_counts_start_at_the_datas_mean(likelihood):
    mean = torch.tensor([0.0, 0.2, 3000.0])
    torch.testing.assert_close(likelihood(3, mean=mean)(torch.zeros(3)).mean, torch.tensor([0.001, 0.2, 3000.0]))


@pytest.mark.parametrize("member", [Gaussian, Laplace, StudentT])
@pytest.mark.parametrize("scale", [0.3, "shared", "per-pixel"])
def test_location_and_scale_are_the_features(member, scale):
    likelihood = stirred(member(3, scale=scale, min_scale=0.2)).double()
    h, x = torch.randn(5, *likelihood.feature_shape).double(), torch.randn(5, 3).double()
    softplus = nn.functional.softplus
    loc, s = h, torch.tensor(0.3)
    if scale == "shared":
        s = 0.2 + softplus(likelihood.raw_scale)
    if scale == "per-pixel":
        loc, s = h[:, 0], 0.2 + softplus(h[:, 1])
    with torch.no_grad():
        t = ((x - loc) / s).numpy()
        match likelihood:
            case Gaussian():
                standard = scipy.stats.norm.logpdf(t)
            case Laplace():
                standard = scipy.stats.laplace.logpdf(t)
            case StudentT():
                standard = scipy.stats.t.logpdf(t, 1 + softplus(likelihood.raw_df).item())
        expected = (torch.tensor(standard) - s.log()).sum(-1)
        torch.testing.assert_close(likelihood(h).log_prob(x), expected)


# Student-t and gamma functions


def test_student_t_tends_to_the_gaussian():
    x = torch.linspace(-4, 4, 9)
    many = StudentT(9, scale=0.5, df=1e7)(torch.zeros(9)).base_dist
    torch.testing.assert_close(many.log_prob(x), dist.Normal(0.0, 0.5).log_prob(x), rtol=1e-5, atol=1e-5)


def test_cauchy_has_its_location_for_a_mean():
    px = StudentT(3, scale=1.0, df=1.0)(torch.tensor([-1.0, 0.0, 5.0]))
    torch.testing.assert_close(px.mean, torch.tensor([-1.0, 0.0, 5.0]))
    x = torch.tensor([0.0, 2.0, -9.0])
    torch.testing.assert_close(px.log_prob(x), dist.Cauchy(px.mean, 1.0).log_prob(x).sum())


@pytest.mark.parametrize("df", [0.5, 5.0, 99.0, 101.0, 1e4, 1e6])
def test_student_t_is_exact_in_float32(df):
    x = torch.linspace(-4, 4, 9)
    found = StableStudentT(torch.tensor(df), torch.tensor(0.0), torch.tensor(1.0)).log_prob(x)
    torch.testing.assert_close(found.double(), torch.tensor(scipy.stats.t.logpdf(x.double(), df)), rtol=1e-5, atol=3e-6)


def test_gamma_ratios_are_those_of_float64_on_both_sides_of_the_switch():
    a = torch.tensor([1e-3, 0.7, 10.0, 49.9, 50.1, 80.0], dtype=torch.float64)[:, None]
    x = torch.tensor([0.0, 0.5, 1.0, 30.0, 1000.0], dtype=torch.float64)
    torch.testing.assert_close(log_gamma_ratio(a, x), torch.lgamma(a + x) - torch.lgamma(a), rtol=1e-10, atol=1e-10)


# Counts


@pytest.mark.parametrize("r", [0.01, 1.0, 30.0, 1e3, 1e5])
def test_negative_binomial_is_scipys_in_float32(r):
    mean = 5.0
    px = StableNegativeBinomial(torch.tensor(r), logits=torch.tensor(mean).log() - torch.tensor(r).log())
    expected = torch.tensor(scipy.stats.nbinom.logpmf(COUNTS, r, r / (r + mean)))
    torch.testing.assert_close(px.log_prob(COUNTS).double(), expected, rtol=1e-5, atol=2e-5)


def test_negative_binomial_tends_to_the_poisson():
    px = StableNegativeBinomial(torch.tensor(1e7), logits=torch.tensor(5.0).log() - torch.tensor(1e7).log())
    torch.testing.assert_close(px.log_prob(COUNTS), dist.Poisson(5.0).log_prob(COUNTS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dispersion", ["shared", "per-pixel"])
def test_negative_binomial_has_mean_and_variance_of_its_features(dispersion):
    likelihood = stirred(NegativeBinomial(3, dispersion=dispersion))
    h = torch.randn(likelihood.feature_shape)
    px = likelihood(h)
    mean, raw = (h.exp(), likelihood.raw_dispersion) if dispersion == "shared" else (h[0].exp(), h[1])
    torch.testing.assert_close(px.mean, mean)
    torch.testing.assert_close(px.variance, mean + mean.square() / raw.exp())


def test_without_extra_zeros_it_is_the_negative_binomial():
    inflated, plain = ZeroInflatedNegativeBinomial(5), NegativeBinomial(5)
    h = torch.randn(5)
    never = inflated(torch.stack([h, torch.full((5,), -40.0)]))
    torch.testing.assert_close(never.log_prob(COUNTS), plain(h).log_prob(COUNTS))


def test_extra_zeros_are_the_mixture():
    h, gate = torch.randn(2, 5)
    p, extra = NegativeBinomial(5)(h).base_dist.log_prob(COUNTS).exp(), torch.sigmoid(gate - 2)
    expected = (extra * (COUNTS == 0) + (1 - extra) * p).log().sum()
    torch.testing.assert_close(ZeroInflatedNegativeBinomial(5)(torch.stack([h, gate])).log_prob(COUNTS), expected)


def test_rates_are_proportional_to_the_exposure():
    """Twice the exposure has the probabilities of twice the rate, and says nothing of the exposure itself."""
    mean = torch.tensor([0.5, 2.0, 1.0, 3.0, 8.0, 10.0])  # the last one of the exposure
    given, free = ZeroInflatedNegativeBinomial(6, mean, exposure=True), ZeroInflatedNegativeBinomial(5, mean[:5])
    h = torch.randn(*free.feature_shape)
    for exposure in (5.0, 10.0, 20.0):
        faster = h + torch.tensor([math.log(exposure / 10), 0.0])[:, None]
        x = torch.cat([COUNTS, torch.tensor([exposure])])
        torch.testing.assert_close(given(h).log_prob(x), free(faster).log_prob(COUNTS))
    torch.testing.assert_close(given(h).mean, torch.cat([free(h).mean, mean[-1:]]))


@pytest.mark.parametrize("data", ["levels", "counts"])
def test_binomial_is_scipys_in_float32(data):
    k, h = torch.arange(256.0), torch.tensor(0.3)
    px = Binomial(256, data=data)(h.expand(256)).base_dist
    expected = torch.tensor(scipy.stats.binom.logpmf(k, 255, torch.sigmoid(h).item()))
    found = px.log_prob(k / 255 if data == "levels" else k).double()
    torch.testing.assert_close(found, expected, rtol=2e-6, atol=3e-5)


def test_categorical_takes_the_same_data_in_both_forms():
    h, k = torch.randn(7, 2), torch.tensor([0, 5])
    grey = Categorical(2, levels=7)(h).log_prob(k / 6)
    one_hot = Categorical((2, 7), data="one-hot")(h.T).log_prob(nn.functional.one_hot(k, 7).float())
    torch.testing.assert_close(grey, h.log_softmax(0)[k, [0, 1]].sum())
    torch.testing.assert_close(grey, one_hot)


def test_grey_levels_serve_all_discrete_likelihoods():
    x = torch.arange(256)[None] / 255
    for likelihood in (Categorical(256), DiscretizedLogistic(256), Binomial(256)):
        assert likelihood.support.check(x).all()
        assert likelihood(torch.zeros(1, *likelihood.feature_shape)).log_prob(x).isfinite()


# Bounded values


@pytest.mark.parametrize("h", [-90.0, -20.0, -3.0, -0.61, -0.59, -1e-3, 1e-6, 4e-3, 0.5, 7.0, 60.0])
def test_continuous_bernoulli_is_the_formula_in_float32(h):
    """log p = h x - log[(e^h - 1) / h], with its derivatives x - mean, in float64 from the end where it is exact."""
    x, features = torch.tensor([0.0, 0.3, 1.0]), torch.full((3,), h, requires_grad=True)
    px = ContinuousBernoulli(3)(features)
    a = abs(torch.tensor(h, dtype=torch.float64))
    toward = x.double() if h > 0 else 1 - x.double()
    expected = a * (toward - 1) - torch.log(-torch.expm1(-a) / a)
    mean = 1 / -torch.expm1(-a) - 1 / a if a > 1e-2 else 0.5 + a / 12
    mean = mean if h > 0 else 1 - mean
    torch.testing.assert_close(px.base_dist.log_prob(x).double(), expected, rtol=1e-6, atol=2e-6)
    torch.testing.assert_close(px.mean.double(), mean.expand(3), rtol=1e-5, atol=1e-6)
    px.log_prob(x).backward()
    torch.testing.assert_close(features.grad.double(), x.double() - mean, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("likelihood", [ContinuousBernoulli(4), Beta(4)])
def test_zero_features_are_the_uniform_density(likelihood):
    x = torch.tensor([0.01, 0.3, 0.5, 0.99])
    log_prob = likelihood(torch.zeros(likelihood.feature_shape)).base_dist.log_prob(x)
    torch.testing.assert_close(log_prob, torch.zeros(4), rtol=0, atol=1e-5)


def test_von_mises_has_its_natural_parameters():
    a, b, x = torch.randn(3, 6, dtype=torch.float64)
    expected = scipy.stats.vonmises.logpdf(x, torch.hypot(a, b), loc=torch.atan2(b, a)).sum()
    found = VonMises(6)(torch.stack([a, b])).log_prob(x)
    assert found.item() == pytest.approx(expected, abs=1e-4)


# Correlated values


def test_low_rank_gaussian_is_the_multivariate_normal():
    likelihood = LowRankGaussian((2, 2), rank=3, min_scale=0.1).double()
    h, x = torch.randn(5, 2, 2).double(), torch.randn(2, 2).double()
    factor, scale = h[2:].flatten(1).T, 0.1 + nn.functional.softplus(h[1].flatten())
    full = dist.MultivariateNormal(h[0].flatten(), factor @ factor.T + scale.square().diag())
    torch.testing.assert_close(likelihood(h).log_prob(x), full.log_prob(x.flatten()))


def test_without_correlations_it_is_the_gaussian():
    h, x = torch.randn(2, 3), torch.randn(3)
    none = LowRankGaussian(3, rank=2)(torch.cat([h, torch.zeros(2, 3)]))
    torch.testing.assert_close(none.log_prob(x), Gaussian(3, scale="per-pixel")(h).log_prob(x))


# Densities and probabilities of grey levels


def test_bits_of_a_density_are_those_of_the_probability_it_makes():
    """A density that is constant on each bin is the probability of the level times the number of levels."""
    p = torch.tensor([0.1, 0.2, 0.3, 0.4])
    k = torch.tensor([0, 3, 1, 2, 2])
    y = dequantize(k / 3, levels=4)
    assert ((4 * y).floor() == k).all()
    density = (4 * p[(4 * y).floor().long()]).log().sum()
    torch.testing.assert_close(bits_per_dim(density, 5, dequantized_levels=4), bits_per_dim(p[k].log().sum(), 5))


def test_a_worked_example_of_bits():
    """DiscretizedLogistic and Categorical need no correction; a uniform density of 8-bit data has 8 bits."""
    x = torch.rand(3, 1, 4, 4).mul(255).round() / 255
    uniform = Categorical((1, 4, 4))(torch.zeros(3, 256, 1, 4, 4)).log_prob(x)
    density = ContinuousBernoulli((1, 4, 4))(torch.zeros(3, 1, 4, 4)).log_prob(dequantize(x))
    torch.testing.assert_close(bits_per_dim(uniform, (1, 4, 4)), torch.full((3,), 8.0))
    torch.testing.assert_close(bits_per_dim(density, (1, 4, 4), dequantized_levels=256), torch.full((3,), 8.0))


def test_dequantized_bits_are_an_upper_bound():
    """E[log p(y)] - log(levels) is at most log of the probability that the density gives to the level."""
    k, levels = 3, 8
    density = dist.Beta(6.0, 9.0)
    y = dequantize(torch.full((20_000,), k / (levels - 1)), levels)
    assert ((y > k / levels) & (y < (k + 1) / levels)).all()
    probability = scipy.stats.beta.cdf((k + 1) / levels, 6, 9) - scipy.stats.beta.cdf(k / levels, 6, 9)
    dequantized = bits_per_dim(density.log_prob(y).mean(), 1, dequantized_levels=levels).item()
    assert -math.log2(probability) < dequantized < -math.log2(probability) + 0.05
