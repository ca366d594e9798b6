"""The contract of a likelihood, over every likelihood of `examples`, against the slow obvious way."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import assert_gradients_reach_everything, assert_survives_a_file
from examples import JOINT_LIKELIHOODS, LIKELIHOODS, stirred
from goodness_of_fit import assert_counts_fit, assert_sampler_fits_density
from pyro.infer import Trace_ELBO
from torch import nn
from torch.distributions import constraints

import pyro_vae
from pyro_vae import (
    MLP,
    VAE,
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    CompiledELBO,
    DiscretizedGaussian,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    Gaussian,
    GaussianEncoder,
    Laplace,
    Likelihood,
    LowRankGaussian,
    Masked,
    NegativeBinomial,
    PixelCNN,
    Poisson,
    StandardNormal,
    StudentT,
    VonMises,
    ZeroInflatedNegativeBinomial,
)
from pyro_vae.distributions.levels import Levels
from pyro_vae.pairs.checks import check_values
from pyro_vae.pairs.supports import of_one_value

ALL = {name: (make, (2, 3)) for name, make in LIKELIHOODS.items()} | JOINT_LIKELIHOODS
BOUNDS = {"ContinuousBernoulli": (0.0, 1.0), "Beta": (0.0, 1.0), "VonMises": (-math.pi, math.pi)}


@pytest.fixture(params=ALL)
def make(request):
    """A likelihood of its own event shape."""
    build, event_shape = ALL[request.param]
    return lambda: stirred(build(event_shape))


@pytest.fixture(params=LIKELIHOODS)
def make_flat(request):
    """A likelihood of so many values, and the bounds of each."""
    bounds = BOUNDS.get(request.param, (-math.inf, math.inf))
    return lambda dim: (stirred(LIKELIHOODS[request.param](dim)), bounds)


def values_of(support):
    """All values of one pixel (of counts: all that are at all likely), or None for real values."""
    match support:
        case Levels():
            return torch.arange(support.levels) / (support.levels - 1)
        case constraints.integer_interval():
            return torch.arange(int(torch.as_tensor(support.upper_bound).max()) + 1.0)
    if support is constraints.nonnegative_integer:
        return torch.arange(600.0)
    return torch.tensor([0.0, 1.0]) if support is constraints.boolean else None


def test_batch_is_the_images_and_event_the_shape_of_one(make):
    likelihood = make()
    px = likelihood(torch.randn(4, 5, *likelihood.feature_shape))
    assert (px.batch_shape, px.event_shape) == ((4, 5), likelihood.event_shape)
    assert px.sample().shape == (4, 5, *likelihood.event_shape)
    assert px.sample((3,)).shape == (3, 4, 5, *likelihood.event_shape)


def test_mean_is_one_for_each_image(make):
    likelihood = make()
    px = likelihood(torch.randn(4, 5, *likelihood.feature_shape))
    if isinstance(likelihood, PixelCNN):
        with pytest.raises(NotImplementedError):
            _ = px.mean
        return
    assert px.mean.shape == (4, 5, *likelihood.event_shape)
    assert px.mean.isfinite().all()


def test_particles_are_scored_one_by_one(make):
    likelihood = make()
    h = torch.randn(4, 5, *likelihood.feature_shape)
    x = likelihood(h[0]).sample()
    one_by_one = torch.stack([torch.stack([likelihood(h[k, b]).log_prob(x[b]) for b in range(5)]) for k in range(4)])
    torch.testing.assert_close(likelihood(h).log_prob(x), one_by_one)


def test_expanding_repeats_it(make):
    likelihood = make()
    px = likelihood(torch.randn(5, *likelihood.feature_shape))
    x = px.sample()  # first: some of Pyro's distributions change by it
    wide = px.expand([4, 5])
    assert (wide.batch_shape, wide.event_shape) == ((4, 5), likelihood.event_shape)
    assert wide.sample().shape == (4, 5, *likelihood.event_shape)
    torch.testing.assert_close(wide.log_prob(x), px.log_prob(x).expand(4, 5))


def test_its_own_draws_pass_the_check(make):
    likelihood = make()
    for scale in (0.1, 1.0, 30.0):
        px = likelihood(scale * torch.randn(50, *likelihood.feature_shape))
        x = px.sample()
        assert likelihood.support.check(x).all()
        assert px.support.check(x).all()
        assert px.log_prob(x).isfinite().all()


def is_bounded(likelihood):
    return of_one_value(likelihood.support) is not constraints.real


def test_other_values_are_refused(make):
    likelihood = make()
    wrong = math.inf if isinstance(likelihood, Masked) or is_bounded(likelihood) else math.nan
    x = torch.full((5, *likelihood.event_shape), wrong)
    if isinstance(likelihood, Masked) and not is_bounded(likelihood):
        return  # a Gaussian's values: `fit` and the protocols of the data refuse infinite ones
    with pytest.raises(ValueError, match=rf"in the support of site 'x', .*; got values such as {wrong}\. Repair"):
        check_values("x", likelihood.support, x)


def test_distributions_refuse_values_outside_their_support(make):
    likelihood = make()
    px = likelihood(torch.zeros(5, *likelihood.feature_shape))
    wrong = math.inf if is_bounded(likelihood) else math.nan  # of real values, validation refuses nan
    if not isinstance(likelihood, Masked):
        with pytest.raises(ValueError, match="within the support"):
            px.log_prob(torch.full((5, *likelihood.event_shape), wrong))


def test_sampler_fits_the_probabilities(make_flat):
    likelihood, bounds = make_flat(2)
    px, values = likelihood(0.3 * torch.rand(likelihood.feature_shape)), values_of(of_one_value(likelihood.support))
    if values is None:
        assert_sampler_fits_density(px, within=bounds)
        return
    draws = px.sample((20_000,))
    for pixel in range(2):
        probs = px.base_dist.log_prob(values[:, None].expand(-1, 2))[:, pixel].detach().double().exp()
        assert probs.sum().item() == pytest.approx(1, abs=1e-5)
        counts = (draws[:, pixel, None] == values).sum(0).double()
        assert counts.sum() == len(draws)
        assert_counts_fit(counts, probs)


def test_mean_is_that_of_the_density(make_flat):
    likelihood, (low, high) = make_flat(1)
    px, points = likelihood(torch.randn(likelihood.feature_shape)), values_of(of_one_value(likelihood.support))
    if points is None:
        low, high = max(low, -300.0), min(high, 300.0)
        points = low + (high - low) * (torch.arange(600_000) + 0.5) / 600_000
    if isinstance(likelihood, VonMises):  # its mean is that of a circle: the direction of the mean arrow
        weights = px.log_prob(points[:, None]).double().softmax(0)
        mean = torch.atan2(weights @ points.sin().double(), weights @ points.cos().double()).reshape(1)
    else:
        mean = (px.log_prob(points[:, None]).double().softmax(0) @ points.double()).reshape(1)
    torch.testing.assert_close(px.mean.double(), mean, rtol=1e-4, atol=1e-4)


def test_gradients_reach_every_parameter_and_feature(make):
    likelihood = make()
    h = nn.Parameter(0.3 * torch.randn(20, *likelihood.feature_shape))
    x = likelihood(torch.randn_like(h)).sample()
    module = nn.ParameterList([h, *likelihood.parameters()])
    assert_gradients_reach_everything(module, likelihood(h).log_prob(x).sum())
    assert (h.grad != 0).all()


def test_starts_from_zero_features(make):
    """A sensible distribution: the mean is inside the range of the data, and gradients are finite."""
    likelihood = make()
    h = nn.Parameter(torch.zeros(200, *likelihood.feature_shape))
    px = likelihood(h)
    likelihood(h).log_prob(px.sample()).sum().backward()
    assert h.grad.isfinite().all()
    assert isinstance(likelihood, PixelCNN) or (px.mean.abs() <= 3).all()


def test_survives_a_file(make):
    likelihood = make()
    x = likelihood(torch.zeros(likelihood.feature_shape)).sample()

    def log_prob(likelihood):
        return likelihood(torch.full(likelihood.feature_shape, 0.3)).log_prob(x)

    assert_survives_a_file(make, log_prob)


def test_follows_to_double_precision(make):
    likelihood = make().double()
    px = likelihood(torch.randn(5, *likelihood.feature_shape).double())
    x = px.sample()
    assert x.dtype == px.log_prob(x).dtype == torch.float64


def test_recorded_steps_are_the_plain_ones(make):
    likelihood = make()
    encoder = GaussianEncoder(likelihood.event_shape, 2, network=lambda a, b: MLP(a, b, hidden=()))
    vae = VAE(StandardNormal(2), encoder, MLP(2, likelihood.feature_shape, hidden=(4,)), likelihood)
    x = likelihood(torch.zeros(6, *likelihood.feature_shape)).sample()
    recorded, losses = CompiledELBO(Trace_ELBO(), backend="eager"), []
    for elbo in (Trace_ELBO(), recorded):
        for _ in range(3):
            pyro.set_rng_seed(0)
            losses.append(float(elbo.loss_and_grads(vae.model, vae.guide, x)))
    assert recorded.num_graphs == 1
    assert losses == pytest.approx([losses[0]] * 6, rel=1e-5)


def look(likelihood, values):
    check_values("x", likelihood.support, torch.tensor(values))


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: Bernoulli((2, 3), mean=torch.zeros(3, 2)), r"Expected mean of shape \(2, 3\); got \(3, 2\)\."),
        (lambda: Poisson((2, 3), mean=torch.zeros(3, 2)), r"Expected mean of shape \(2, 3\); got \(3, 2\)\."),
        (
            lambda: look(Bernoulli(2), [[0.0, 0.5]]),
            r"Expected data in the support of site 'x', 0 or 1; got values such as 0\.5\. Grey .* binarize",
        ),
        (
            lambda: look(Gaussian(2), [[0.0, math.nan]]),
            r"Expected data in the support of site 'x', Real\(\); got values such as nan\. Repair .*Masked",
        ),
        (  # a number is said first
            lambda: look(Bernoulli(3), [[0.5, 1.0, math.nan]]),
            r"the support of site 'x', 0 or 1; got values such as 0\.5\. Grey",
        ),
        (lambda: Gaussian(2, scale="pixel"), r"Expected scale to be a number, 'shared' or 'per-pixel'; got 'pixel'\."),
        (lambda: Gaussian(2, scale=0.0), r"Expected a finite scale > 0; got 0\.0\."),
        (lambda: Laplace(2, scale=math.nan), r"Expected a finite scale > 0; got nan\."),
        (lambda: Gaussian(2, min_scale=0.0), r"Expected a finite min_scale > 0; got 0\.0\."),
        (lambda: LowRankGaussian(2, rank=0), r"Expected rank >= 1; got 0\. Without correlations, use Gaussian"),
        (lambda: StudentT(2, df=-1.0), r"Expected a finite df > 0; got -1\.0\."),
        (lambda: StudentT(2, df="none"), r"Expected df to be a number or 'learned'; got 'none'\."),
        (lambda: DiscretizedLogistic(2, levels=1), r"Expected levels >= 2; got 1\."),
        (lambda: Categorical(2, levels=1), r"Expected levels >= 2; got 1\."),
        (lambda: DiscretizedGaussian(2, min_scale=-1.0), r"Expected a finite min_scale > 0; got -1\.0\."),
        (lambda: DiscretizedLogisticMixture(2, components=0), r"Expected components >= 1; got 0\."),
        (
            lambda: look(DiscretizedLogistic(2), [[0.0, 7.0], [0.5, 1.0]]),
            r"multiples of 1/255 in \[0, 1\]; got values such as 7\. Scale 8-bit",
        ),
        (lambda: Categorical(2, data="hot"), r"Expected data to be 'levels' or 'one-hot'; got 'hot'\."),
        (
            lambda: look(Categorical((1, 3), data="one-hot"), [[[1.0, 1.0, 0.0]]]),
            r"one-hot vectors; got values such as 1\. Encode",
        ),
        (
            lambda: look(Binomial(2, data="counts", total_count=6), [[2.0, 7.0]]),
            r"site 'x', counts from 0 to 6; got values such as 7\. Set total_count",
        ),
        (lambda: Binomial(2, total_count=0), r"Expected total_count >= 1; got 0\."),
        (lambda: Binomial(2, data="k"), r"Expected data to be 'levels' or 'counts'; got 'k'\."),
        (
            lambda: look(Poisson(2), [[3.0, 2.5]]),
            r"counts 0, 1, 2, \.\.\.; got values such as 2\.5\. Give raw counts.*uint8",
        ),
        (
            lambda: look(Beta(2), [[0.5, 1.0]]),
            r"strictly between 0 and 1; got values such as 1\. Dequantize",
        ),
        (
            lambda: look(VonMises(2), [[0.5, 90.0]]),
            r"Interval\(.*\); got values such as 90\. Give radians",
        ),
        (
            lambda: NegativeBinomial(2, dispersion="all"),
            r"Expected dispersion to be 'shared' or 'per-pixel'; got 'all'",
        ),
        (
            lambda: ZeroInflatedNegativeBinomial((1, 8, 8), exposure=True),
            r"Expected event_shape \(D \+ 1,\), D counts and their exposure; got \(1, 8, 8\)\.",
        ),
        (
            lambda: look(ZeroInflatedNegativeBinomial(3, exposure=True), [[2.0, 1.0, 0.0]]),
            r"a positive exposure as the last value; got values such as 0\.",
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
        (StudentT(4, df=3.0), "StudentT(event_shape=(4,), scale='shared', min_scale=0.01, df=3.0)"),
        (LowRankGaussian(4), "LowRankGaussian(event_shape=(4,), rank=5, min_scale=0.01)"),
        (DiscretizedLogistic(4, levels=16), "DiscretizedLogistic(event_shape=(4,), levels=16, min_scale=0.1)"),
        (DiscretizedGaussian(4), "DiscretizedGaussian(event_shape=(4,), levels=256, min_scale=0.1)"),
        (
            DiscretizedLogisticMixture(4),
            "DiscretizedLogisticMixture(event_shape=(4,), components=5, levels=256, min_scale=0.1)",
        ),
        (
            PixelCNN((4, 4), channels=8),
            "PixelCNN((4, 4), pixels=Bernoulli(event_shape=(4, 4)), channels=8, num_layers=4, kernel_size=5)",
        ),
        (Categorical((4, 3), data="one-hot"), "Categorical(event_shape=(4, 3), data='one-hot')"),
        (Binomial(4), "Binomial(event_shape=(4,), total_count=255, data='levels')"),
        (NegativeBinomial(4), "NegativeBinomial(event_shape=(4,), dispersion='shared')"),
        (
            ZeroInflatedNegativeBinomial(4),
            "ZeroInflatedNegativeBinomial(event_shape=(4,), dispersion='shared', exposure=False)",
        ),
        (Masked(Bernoulli(4)), "Masked(Bernoulli(event_shape=(4,)))"),
    ],
)
def test_repr(likelihood, text):
    assert repr(likelihood) == text


@pytest.mark.parametrize("name", [name for name in ALL if name != "PixelCNN"])
def test_repr_builds_it_again(name):
    build, event_shape = ALL[name]
    likelihood = build(event_shape)
    again = eval(repr(likelihood), {public: getattr(pyro_vae, public) for public in pyro_vae.__all__})
    assert repr(again) == repr(likelihood)
    assert again.feature_shape == likelihood.feature_shape
    assert again.support.check(likelihood(torch.zeros(2, *likelihood.feature_shape)).sample()).all()


def test_a_likelihood_needs_no_words_of_its_own_to_refuse_data():
    class Exponential(Likelihood):
        def forward(self, features):
            return dist.Exponential(features.exp()).to_event(1)

    look(Exponential(2), [[1.0, 1.0]])
    with pytest.raises(ValueError, match=r"^Expected data in the support of site 'x', .*; got values such as -1"):
        look(Exponential(2), [[-1.0, 1.0]])
