"""Proposals that reach farther, samples by need, and memory: none of them may change what is estimated."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import PAIRS, LinearGaussian, TwoLevel, patterns
from goodness_of_fit import assert_within_standard_errors
from pyro import poutine
from torch.distributions import biject_to

from pyro_vae import VAE, Bernoulli, ConvDecoder, ConvEncoder, GaussianEncoder, StandardNormal, log_marginal, widened
from pyro_vae.evidence.chunking import chunk, chunk_within, chunks_within, parse_bytes, peak_bytes

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")


def deviations(result, truth):
    return (result.log_prob - truth) / result.standard_error


def site(function, name, x):
    return poutine.trace(function).get_trace(x).nodes[name]["fn"]


# Widened


def one_site(distribution):
    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", distribution(x))

    return guide


@pytest.mark.parametrize("scale", [0.5, 1.0, 1.7])
def test_a_normal_guide_is_widened_around_its_mean(scale):
    x, value = torch.randn(4), torch.randn(4)
    wide = site(widened(one_site(lambda x: dist.Normal(x, 0.6)), scale), "z", x)
    torch.testing.assert_close(wide.log_prob(value), dist.Normal(x, 0.6 * scale).log_prob(value))


def test_correlations_are_kept():
    linear = LinearGaussian()
    x = torch.randn(4, 5)
    exact, wide = linear.posterior(x), site(widened(linear.guide, 3.0), "z", x)
    value = torch.randn(4, 2)
    truth = dist.MultivariateNormal(exact.loc, 9 * exact.covariance_matrix).log_prob(value)
    torch.testing.assert_close(wide.log_prob(value), truth, rtol=1e-4, atol=1e-4)


CONSTRAINED = {
    "Gamma": lambda x: dist.Gamma(2 + x.abs(), 1.5),
    "LogNormal": lambda x: dist.LogNormal(x, 0.5),
    "Beta": lambda x: dist.Beta(1 + x.abs(), 2.0),
    "Uniform": lambda x: dist.Uniform(-1 - x.abs(), 1.0),
    "Dirichlet": lambda x: dist.Dirichlet(1 + x.abs()[:, None] + torch.ones(3)),
    "HalfNormal": lambda x: dist.HalfNormal(1 + x.abs()),
}


@pytest.mark.parametrize("name", CONSTRAINED)
def test_constrained_latents_are_widened_where_they_are_free(name):
    x = torch.randn(4)
    plain = CONSTRAINED[name](x)
    wide = site(widened(one_site(CONSTRAINED[name]), 1.6), "z", x)
    free = biject_to(plain.support)
    centre = free.inv(plain.mean)
    # In unconstrained space, u of the wide one is centre + 1.6 (v - centre): the density by the change of variables.
    value = plain.sample()
    there = centre + (free.inv(value) - centre) / 1.6
    count = there[0].numel()
    jacobian = free.log_abs_det_jacobian(there, free(there)) - free.log_abs_det_jacobian(free.inv(value), value)
    expected = plain.log_prob(free(there)) + jacobian - count * math.log(1.6)
    torch.testing.assert_close(wide.log_prob(value), expected, rtol=1e-4, atol=1e-4)
    same = site(widened(one_site(CONSTRAINED[name]), 1.0), "z", x)
    torch.testing.assert_close(same.log_prob(value), plain.log_prob(value), rtol=1e-4, atol=1e-4)
    draws = wide.sample((2000,))
    assert plain.support.check(draws).all()
    u = free.inv(draws.clamp(min=1e-30)) if name in ("Gamma", "HalfNormal", "LogNormal") else free.inv(draws)
    before = free.inv(plain.sample((2000,)).clamp(min=1e-30)) if u.shape == draws.shape else None
    if before is not None and name != "Uniform":
        torch.testing.assert_close(u.std(0) / before.std(0), torch.full_like(x, 1.6), rtol=0.2, atol=0)


def gamma_poisson(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Poisson(pyro.sample("z", dist.Gamma(3.0, 1.5))), obs=x)


COUNTS = torch.tensor([0.0, 1.0, 2.0, 5.0])


def gamma_poisson_truth():
    return dist.NegativeBinomial(3.0, probs=torch.tensor(1 / 2.5)).log_prob(COUNTS).double()


@pytest.mark.parametrize("scale", [1.0, 1.4])
def test_estimates_from_a_widened_guide_have_the_same_mean(scale):
    linear = LinearGaussian()
    x = linear.bias.detach() + torch.randn(20, 5)
    result = log_marginal(linear.model, widened(linear.guide, scale), x, num_samples=3000, estimator="guide")
    if scale == 1.0:
        torch.testing.assert_close(result.log_prob, linear.log_prob(x), rtol=1e-4, atol=1e-4)
    else:
        assert deviations(result, linear.log_prob(x)).abs().max() < 5
    guide = one_site(lambda x: dist.Gamma(3 + x, 2.5))  # the posterior
    result = log_marginal(gamma_poisson, widened(guide, scale), COUNTS, num_samples=3000, estimator="guide")
    assert (result.log_prob - gamma_poisson_truth()).abs().max() < 0.1
    if scale > 1:
        assert deviations(result, gamma_poisson_truth()).abs().max() < 5


def test_a_narrow_guide_gets_a_lighter_tail():
    linear = LinearGaussian(width=0.6)
    x = linear.bias.detach() + torch.randn(8, 5)
    plain, wide = (
        log_marginal(linear.model, guide, x, num_samples=1000, estimator="guide")
        for guide in (linear.mediocre_guide, widened(linear.mediocre_guide, 2.0))
    )
    assert plain.khat.min() > 0.4
    assert (wide.khat < plain.khat).all()
    assert wide.khat.median() < 0.3
    assert deviations(wide, linear.log_prob(x)).abs().max() < 5


def test_every_site_is_widened_around_what_came_before():
    """z1 and then z2 given z1; the estimate stays that of the pair."""
    pair, x = TwoLevel(), patterns(5, (12,))
    trace = poutine.trace(widened(pair.guide, 1.5)).get_trace(x)
    z1 = trace.nodes["z1"]["value"]
    with torch.no_grad():
        q2 = pair.normal(pair.q2(z1)).base_dist
        expected = dist.Normal(q2.loc, 1.5 * q2.scale).to_event(1).log_prob(trace.nodes["z2"]["value"])
        found = trace.nodes["z2"]["fn"].log_prob(trace.nodes["z2"]["value"])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    plain, wide = (
        log_marginal(pair.model, g, x, num_samples=5000, estimator="guide")
        for g in (pair.guide, widened(pair.guide, 1.5))
    )
    difference = (plain.log_prob - wide.log_prob) / torch.hypot(plain.standard_error, wide.standard_error)
    assert difference.abs().max() < 5


@pytest.mark.parametrize("kind", [lambda x: dist.Poisson(x.exp()), lambda x: dist.Bernoulli(logits=x)])
def test_discrete_latents_stay_as_they_are(kind):
    x = torch.randn(4)
    assert type(site(widened(one_site(kind), 2.0), "z", x)) is type(site(one_site(kind), "z", x))


@pytest.mark.parametrize(
    "kind",
    [lambda x: dist.Cauchy(x, 1.0), lambda x: dist.StudentT(1.0, x)],
)
def test_a_latent_without_a_mean_is_an_error(kind):
    with pytest.raises(ValueError, match=r"latents know their mean.*site 'z'"):
        site(widened(one_site(kind), 2.0), "z", torch.randn(4))


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_a_scale_that_is_none_is_an_error(scale):
    with pytest.raises(ValueError, match=r"Expected scale > 0; got"):
        widened(gamma_poisson, scale)


# A mixture with the prior


@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
@pytest.mark.parametrize("name", ["linear Gaussian, mediocre guide", "first column"])
def test_a_defensive_mixture_has_the_same_mean(name, share):
    pair = PAIRS[name]()
    result = log_marginal(pair.model, pair.guide, pair.x[:12], num_samples=5_000, defensive=share, estimator="guide")
    assert deviations(result, pair.log_prob[:12]).abs().max() < 5
    assert result.standard_error.max() < 0.5


def hierarchical(order):
    """z2 ~ N(0, 1), z1 ~ N(z2, 0.5), x ~ N(z1, 0.5); the guide draws in either order, off the posterior."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z2 = pyro.sample("z2", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(pyro.sample("z1", dist.Normal(z2, 0.5)), 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            first, second = order
            z = pyro.sample(first, dist.Normal(0.4 * x, 0.6))
            pyro.sample(second, dist.Normal(0.5 * z, 0.7))

    return model, guide


@pytest.mark.parametrize("order", [("z1", "z2"), ("z2", "z1")])
@pytest.mark.parametrize("share", [0.1, 0.6])
def test_levels_that_depend_on_each_other_are_mixed_together(order, share):
    """A draw is the prior's at all sites or the guide's at all: not a patchwork of both."""
    x = torch.linspace(-2.5, 2.5, 8)
    result = log_marginal(*hierarchical(order), x, num_samples=5_000, defensive=share, estimator="guide")
    truth = dist.Normal(0.0, 1.5**0.5).log_prob(x).double()
    assert deviations(result, truth).abs().max() < 5
    assert result.standard_error.max() < 0.1


def test_discrete_latents_are_mixed_too():
    """kind ~ Categorical, z ~ N(kind, 1), x ~ N(z, 0.5); the guide hardly ever looks at the kind that it was."""
    probs = torch.tensor([0.2, 0.5, 0.3])

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(pyro.sample("kind", dist.Categorical(probs)).float(), 1.0))
            pyro.sample("x", dist.Normal(z, 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("kind", dist.Categorical(torch.tensor([0.9, 0.08, 0.02])))
            pyro.sample("z", dist.Normal(0.8 * x, 0.6))

    x = torch.linspace(-2, 4, 7)
    result = log_marginal(model, guide, x, num_samples=5_000, defensive=0.3, estimator="guide")
    parts = dist.Normal(torch.arange(3.0), 1.25**0.5).log_prob(x[:, None]) + probs.log()
    assert deviations(result, parts.logsumexp(1).double()).abs().max() < 5


@pytest.mark.parametrize("share", [0.05, 0.4])
def test_weights_are_bounded_by_the_likelihood_over_the_share(share):
    """p(x|z) <= 1 for counts: with a guide far off, one sample's weight is at most 1 / share, and reaches far."""
    x = COUNTS.repeat(150)
    guide = one_site(lambda x: dist.Gamma(200.0, 10.0).expand(x.shape))
    one = log_marginal(gamma_poisson, guide, x, num_samples=1, defensive=share, estimator="guide").log_prob
    assert (one <= -math.log(share) + 1e-5).all()
    assert_within_standard_errors((one - gamma_poisson_truth().repeat(150)).exp(), 1.0)


@pytest.mark.parametrize("share", [-0.1, 1.0])
def test_a_share_that_is_none_is_an_error(share):
    with pytest.raises(ValueError, match="Expected defensive from 0 to below 1"):
        log_marginal(gamma_poisson, gamma_poisson, COUNTS, defensive=share, estimator="guide")


# Samples by need


def test_every_image_reaches_the_target_or_the_limit_and_those_in_need_draw_more():
    linear = LinearGaussian(width=1.0)
    x = linear.bias.detach() + torch.randn(16, 5)
    far = torch.arange(16) % 2 == 0

    def guide(x):
        q = linear.mediocre_posterior(x)
        wide = 1 + 3 * (x[:, :1] > linear.bias[0])
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(q.base_dist.loc, wide * q.base_dist.scale).to_event(1))

    x[:, 0] = linear.bias[0].detach() + torch.where(far, 1.0, -1.0) * (0.1 + torch.rand(16))
    settings = {"target_standard_error": 0.05, "num_samples": 100}
    result = log_marginal(linear.model, guide, x, max_samples=100_000, **settings, estimator="guide")
    assert result.standard_error.max() < 0.05 * 1.3
    assert (result.standard_error < 0.05).float().mean() > 0.8
    assert result.num_samples[far].float().mean() > 2 * result.num_samples[~far].float().mean()
    assert torch.equal(result.num_samples, result.details["pilot_samples"])
    assert (result.num_samples.double() / 100).log2().frac().abs().max() == 0  # doubled
    assert deviations(result, linear.log_prob(x)).abs().max() < 5
    limited = log_marginal(linear.model, guide, x, max_samples=300, **settings, estimator="guide")
    assert limited.num_samples.max() == 300
    assert (limited.num_samples[limited.standard_error > 0.08] == 300).all()
    again = log_marginal(
        linear.model, guide, x[4:9], max_samples=100_000, chunk_size=1000, **settings, estimator="guide"
    )
    torch.testing.assert_close(again.log_prob, result.log_prob[4:9], rtol=1e-5, atol=1e-5)


def rare(x):
    """z ~ Bernoulli(0.02), x ~ Normal(3 z, 0.5): at x = 3 nearly all of p(x) comes from draws with z = 1."""
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(3 * pyro.sample("z", dist.Bernoulli(0.02)), 0.5), obs=x)


def test_the_mean_weight_stays_the_evidence_where_stopping_at_once_would_lower_it():
    """2,000 repetitions, 20 draws to start with: as long as z = 1 has not come, all weights are equal and the error 0.

    The naive rule draws until the error looks small and keeps those draws.
    """
    x = torch.full((2000,), 3.0)
    truth = 0.02 * math.exp(dist.Normal(3.0, 0.5).log_prob(torch.tensor(3.0)))
    settings = {"num_samples": 20, "target_standard_error": 0.5, "max_samples": 1280}
    guide = one_site(lambda x: dist.Bernoulli(0.02).expand(x.shape))  # the prior
    result = log_marginal(rare, guide, x, **settings, estimator="guide")
    assert_within_standard_errors(result.log_prob.exp() / truth, 1.0)
    assert len(result.num_samples.unique()) > 3
    naive = []
    for _ in range(2000):
        weights = torch.empty(0)
        while len(weights) < 1280:
            z = (torch.rand(max(20, len(weights))) < 0.02).double()
            weights = torch.cat([weights, dist.Normal(3 * z, 0.5).log_prob(torch.tensor(3.0)).exp()])
            if weights.std() / weights.mean() / math.sqrt(len(weights)) <= 0.9 * 0.5:
                break
        naive.append(weights.mean().item() / truth)
    naive = torch.tensor(naive)
    assert abs(naive.mean() - 1) > 5 * naive.std() / math.sqrt(2000)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"target_standard_error": 0.0}, r"Expected target_standard_error > 0; got 0\.0"),
        ({"target_standard_error": math.nan}, "Expected target_standard_error > 0; got nan"),
        ({"target_standard_error": 0.1, "num_samples": 1}, "from 2 to max_samples; got 1 and 100000"),
        ({"target_standard_error": 0.1, "max_samples": 10}, "from 2 to max_samples; got 1000 and 10"),
        ({"only": []}, "Expected numbers of data points from 0 to 3, at least one"),
        ({"only": [4]}, "Expected numbers of data points from 0 to 3, at least one"),
    ],
)
def test_wrong_settings_are_errors(settings, text):
    with pytest.raises(ValueError, match=text):
        log_marginal(gamma_poisson, gamma_poisson, COUNTS, **settings, estimator="guide")


# Memory


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("1GiB", 2**30),
        ("500 MB", 500e6),
        ("1.5kB", 1500),
        ("2KiB", 2048),
        ("7", 7),
        ("3B", 3),
        (2**20, 2**20),
        (" 1TiB ", 2**40),
    ],
)
def test_sizes_are_bytes(size, expected):
    assert parse_bytes(size) == expected


@pytest.mark.parametrize("size", ["", "GiB", "-1GB", "0MB", "1 parsec", "1e9", 0, -5, True, None, 1.5, "1gb"])
def test_what_is_no_size_is_an_error(size):
    with pytest.raises(ValueError, match="Expected a size in bytes, such as '1GiB'"):
        parse_bytes(size)


@pytest.mark.parametrize("num_images", [1, 7, 1000])
@pytest.mark.parametrize("num_samples", [1, 10, 5000])
@pytest.mark.parametrize("pairs", [1, 5, 64, 4096])
def test_chunks_are_no_larger_than_asked_for(num_images, num_samples, pairs):
    images, samples = chunk(num_images, num_samples, pairs=pairs)
    assert 1 <= images <= num_images
    assert 1 <= samples <= num_samples
    assert images * samples <= pairs


@pytest.mark.parametrize("budget", [3_000, 10_000, 10**6, 10**9])
@pytest.mark.parametrize("most", [4096, None])
def test_chunks_stay_within_the_budget(budget, most):
    """An image takes 500 bytes and each of its samples 100."""
    peaks = [2 * (500 + 100 * samples) for samples in (1, 4, 12)]
    images, samples = chunk_within(budget, peaks, 2, 300, 1000, most)
    assert images * (500 + 100 * samples) <= 0.6 * budget
    assert images * samples <= (most or math.inf)
    if budget >= 10**6:
        largest = min(0.6 * budget, (most or math.inf) * 100, 300 * (500 + 100 * 1000))
        assert images * (500 + 100 * samples) > 0.1 * largest  # and not idle
    with pytest.raises(ValueError, match="Expected a memory budget of at least"):
        chunk_within(900, peaks, 2, 300, 1000, most)


@pytest.mark.parametrize("budget", [10**4, 10**6, 10**7, 10**9])
@pytest.mark.parametrize("most", [4096, None])
@pytest.mark.parametrize("own", [0, 500, 10**5])
def test_one_measurement_is_enough_where_the_largest_chunk_fits_anyway(budget, most, own):
    """The chunks are those of all measurements; a small budget, or one without a largest chunk, needs all of them."""
    measured = []

    def peak(samples):
        measured.append(samples)
        return 2 * (own + 100 * samples)

    counts = (1000, 7, 4096)
    if 0.6 * budget < own + 100:
        with pytest.raises(ValueError, match="Expected a memory budget of at least"):
            chunks_within(budget, peak, 2, 300, counts, most)
        return
    found = chunks_within(budget, peak, 2, 300, counts, most)
    peaks = [2 * (own + 100 * samples) for samples in (1, 4, 12)]
    assert found == [chunk_within(budget, peaks, 2, 300, count, most) for count in counts]
    assert measured == ([12] if most and budget == 10**9 else [12, 1, 4]) or (most and budget == 10**7 and own < 10**5)


def test_the_peak_is_counted_as_tensors_come_and_go():
    def call():
        a = torch.zeros(1000)  # 4,000 bytes
        b = a + 1  # 8,000
        del a
        c = b.view(10, 100)[2:]  # no more
        c += 1
        return torch.cat([b, b])  # 4,000 + 8,000

    assert peak_bytes(call) == 12_000


def conv_pair():
    encoder = GaussianEncoder((1, 8, 8), 3, network=lambda i, o: ConvEncoder(i, o, channels=(8, 8)))
    px = Bernoulli((1, 8, 8))
    vae = VAE(StandardNormal(3), encoder, ConvDecoder(3, px.feature_shape, channels=(8, 8)), px)
    return vae.model, vae.guide, patterns(24, (1, 8, 8))


def mlp_pair():
    pair = PAIRS["VAE, VampPrior"]()
    return pair.model, pair.guide, pair.x


@pytest.mark.parametrize("make", [mlp_pair, conv_pair])
@pytest.mark.parametrize(("budget", "settings"), [(400_000, {}), (2_000_000, {"defensive": 0.2})])
def test_all_tensors_stay_within_a_small_budget(make, budget, settings):
    model, guide, x = make()
    free = peak_bytes(
        lambda: log_marginal(model, guide, x, num_samples=500, chunk_size=24 * 500, **settings, estimator="guide")
    )
    peak = peak_bytes(
        lambda: log_marginal(model, guide, x, num_samples=500, memory_budget=budget, **settings, estimator="guide")
    )
    assert peak <= budget
    assert settings or free > budget  # with a prior that is drawn from image by image, not even that takes more
