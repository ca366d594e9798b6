"""Diagnostics against closed forms: the linear-Gaussian pair knows its posterior and its aggregate posterior."""

import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import PAIRS, LinearGaussian, vae
from pyro.distributions.transforms import Planar
from torch import nn

from pyro_vae import diagnose, inference_gaps, log_marginal, prior_where_inactive

kl = torch.distributions.kl_divergence


def within(measure, truth, *, error="standard_error"):
    """Within 5 standard errors of a truth, by errors that say something."""
    assert 0 < getattr(measure, error) < 0.2
    return abs(measure.value - truth) < 5 * getattr(measure, error)


class Diagonal(nn.Module):
    """z ~ N(0, I), x_d ~ N(w_d z_d, 1) with x drawn from the model; the posterior factorizes; w = 0 is a dead unit."""

    def __init__(self, weight, *, width=1.0, shift=0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(weight))
        self.width, self.shift = width, shift

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(self.weight), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z * self.weight, 1.0).to_event(1), obs=x)

    def guide(self, x):
        precision = 1 + self.weight.square()
        loc, scale = x * self.weight / precision + self.shift, self.width * precision.rsqrt()
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(loc, scale).to_event(1))

    def images(self, count):
        return torch.randn(count, len(self.weight)) * (1 + self.weight.detach().square()).sqrt()

    @torch.no_grad()
    def information(self):
        """I(x; z_d): one half log(1 + w^2)."""
        return 0.5 * (1 + self.weight.square()).log()

    def log_prob(self, x):
        return dist.Normal(0.0, (1 + self.weight.detach().square()).sqrt()).log_prob(x).sum(-1)


def test_exact_guide_splits_the_rate_as_the_closed_form_says():
    pair = Diagonal([0.9, 0.5, 0.0])
    x = pair.images(2000)
    result = diagnose(pair.model, pair.guide, x, num_samples=8)
    information = pair.information()
    assert within(result.rate, information.sum())  # the aggregate posterior is the prior
    assert within(result.mutual_information, information.sum())
    assert within(result.mutual_information_upper, information.sum())
    assert abs(result.marginal_kl.value) < 5 * result.marginal_kl.standard_error + 0.01
    assert within(result.elbo, pair.log_prob(x).mean(), error="standard_error")
    assert ((result.information - information).abs() <= 5 * result.information_error + 1e-6).all()
    truth = pair.weight.detach().square() / (1 + pair.weight.detach().square())  # variance of the posterior mean
    assert ((result.variance - truth).abs() <= 5 * result.variance_error + 1e-9).all()
    assert result.active_by_variance.tolist() == result.active_by_information.tolist() == [True, True, False]
    assert result.dimensions == ("z[0]", "z[1]", "z[2]")


def test_shifted_guide_has_a_marginal_kl():
    """q(z) is N(shift, I): half the squared shift from the prior."""
    pair = Diagonal([0.9, 0.5], shift=0.7)
    result = diagnose(pair.model, pair.guide, pair.images(1000), num_samples=8)
    assert within(result.marginal_kl, 0.7**2)
    assert within(result.mutual_information, pair.information().sum())


@torch.no_grad()
def test_elbo_and_its_errors():
    """Truth for these very images: the Monte Carlo error alone must cover it, and not be too wide."""
    module = LinearGaussian()
    x = module.bias.detach() + 2 * torch.randn(50, 5)
    exact, prior = module.mediocre_posterior(x), dist.Normal(torch.zeros(2), 1.0).to_event(1)
    results = [diagnose(module.model, module.mediocre_guide, x, num_pool=0, seed=s) for s in range(30)]
    for name, truth in (("elbo", module.elbo(x).mean()), ("rate", kl(exact, prior.expand((50,))).mean())):
        scores = torch.tensor([(r.value - truth) / r.monte_carlo_error for r in (getattr(s, name) for s in results)])
        assert abs(scores.mean()) < 5 / math.sqrt(30)
        assert 0.5 < scores.std() < 1.6
    first = results[0]
    assert first.elbo.value == pytest.approx(-first.rate.value - first.distortion.value)
    assert first.information.sum() == pytest.approx(kl(exact, prior.expand((50,))).mean().item(), rel=1e-5)
    assert first.mutual_information is None


def test_information_is_bounded_and_says_so():
    pair = Diagonal([30.0, 30.0])
    result = diagnose(pair.model, pair.guide, pair.images(50))
    assert pair.information().sum() > math.log(50) >= result.mutual_information.value
    assert result.mutual_information_upper.value > math.log(50)
    assert result.saturated
    assert repr(result).count("the pool is too small to tell") == 2
    assert "the pool is too small to tell more than log 50 = 3.91" in repr(result)


@pytest.mark.parametrize("count", [5, 50])
def test_no_bound_of_the_information_lies_above_the_rate(count):
    """I(x;z) = rate - KL(q(z) || p(z)): with few images far apart the other upper bound says nothing."""
    pair = Diagonal([30.0, 30.0])
    result = diagnose(pair.model, pair.guide, pair.images(count))
    assert result.mutual_information_upper.value <= result.rate.value


def test_collapsed_pair_has_no_active_unit():
    pair = Diagonal([0.0] * 4)
    result = diagnose(pair.model, pair.guide, torch.randn(100, 4))
    assert not result.active_by_variance.any()
    assert not result.active_by_information.any()
    assert result.mutual_information.value == pytest.approx(0, abs=1e-6)
    assert not result.saturated
    assert "0 of 4 by variance" in repr(result)


def test_sampled_means_are_corrected_for_their_noise():
    """A guide without a known mean, which moves by nothing but noise."""

    def guide(x):
        flow = dist.transforms.affine_autoregressive(2)  # no mean in closed form
        with pyro.plate("data", len(x), dim=-1), torch.no_grad():
            pyro.sample("z", dist.TransformedDistribution(dist.Normal(torch.zeros(2), 1.0), [flow]))

    pair = Diagonal([0.0, 0.0])
    result = diagnose(pair.model, guide, torch.randn(400, 2), num_samples=4, num_pool=0)
    assert (result.variance.abs() < 5 * result.variance_error).all()
    assert not (result.variance == 0).any()
    assert result.information is None


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.usefixtures("scope")
def test_any_pair(name):
    pair = PAIRS[name]()
    pair.guide(pair.x), pair.model(pair.x)  # their parameters, as if trained
    result = diagnose(pair.model, pair.guide, pair.x, num_samples=4, batch_size=13)
    again = diagnose(pair.model, pair.guide, pair.x, num_samples=4, batch_size=13)
    json.dumps(result.to_json(), allow_nan=False)
    assert result.to_json() == again.to_json()
    assert result.mutual_information.value <= math.log(24)
    above = result.mutual_information_upper  # on average: a draw may fall either way
    assert result.mutual_information.value <= above.value + 5 * above.monte_carlo_error
    if result.convention.startswith(("KL", "mean")):
        error = 5 * (result.rate.monte_carlo_error + 1e-4)
        assert abs(result.information.sum().item() - result.rate.value) < error
    options = {"num_steps": 2, "num_samples": 4}
    if name in ("VAE, one-hot", "VAE, sphere", "VAE, simplex"):
        with pytest.raises(ValueError, match="Expected a guide of reparameterized real draws"):
            inference_gaps(pair.model, pair.guide, pair.x[:3], torch.zeros(3), **options)
        return
    gaps = inference_gaps(pair.model, pair.guide, pair.x[:3], torch.zeros(3), **options)
    assert (gaps.inference - gaps.approximation - gaps.amortization).abs().max() < 1e-6


def test_prior_that_does_not_factorize_takes_information_by_dimension():
    pair = vae("GaussianMixture")
    result = diagnose(pair.model, pair.guide, pair.x)
    assert result.convention == "I(x;z_d), at least"
    assert "give num_pool" in diagnose(pair.model, pair.guide, pair.x, num_pool=0).convention
    exact = Diagonal([0.9, 0.5])
    mixed = MixedPrior([0.9, 0.5])
    result = diagnose(mixed.model, exact.guide, exact.images(1000))
    assert ((result.information - exact.information()).abs() < 5 * result.information_error).all()


class MixedPrior(Diagonal):
    """The same prior, in a form that hides that it factorizes."""

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.MultivariateNormal(torch.zeros(2), torch.eye(2)))
            pyro.sample("x", dist.Normal(z * self.weight, 1.0).to_event(1), obs=x)


def planar(x):
    flow = Planar(2)
    with pyro.plate("data", len(x), dim=-1), torch.no_grad():
        pyro.sample("z", dist.TransformedDistribution(dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1), [flow]))


def point(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Delta(torch.zeros(len(x), 2), event_dim=1))


def auxiliary(x):
    with pyro.plate("data", len(x), dim=-1):
        u = pyro.sample("u", dist.Normal(torch.zeros(2), 1.0).to_event(1), infer={"is_auxiliary": True})
        pyro.sample("z", dist.Normal(u, 1.0).to_event(1))


@pytest.mark.parametrize(
    ("guide", "words"), [(planar, "no inverse"), (point, "point mass"), (auxiliary, "auxiliary site 'u'")]
)
def test_guides_that_cannot_score_other_images(guide, words):
    pair = Diagonal([1.0, 0.0])
    with pytest.raises(ValueError, match=words) as error:
        diagnose(pair.model, guide, torch.randn(9, 2))
    assert "num_pool=0" in str(error.value)
    assert diagnose(pair.model, guide, torch.randn(9, 2), num_pool=0).mutual_information is None


def test_refusals():
    pair = Diagonal([1.0, 0.0])
    for wrong in ({"num_samples": 1}, {"num_pool": 1}, {"batch_size": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            diagnose(pair.model, pair.guide, torch.randn(9, 2), **wrong)
    with pytest.raises(ValueError, match="same 9 data points"):
        inference_gaps(pair.model, pair.guide, torch.randn(9, 2), torch.zeros(8))
    with pytest.raises(ValueError, match="Delta at site 'z'"):
        inference_gaps(pair.model, point, torch.randn(9, 2), torch.zeros(9))


# Gaps


def best_diagonal(posterior):
    """The diagonal Gaussian with the smallest KL(q || posterior): variances 1 / diagonal of the precision."""
    variance = 1 / posterior.precision_matrix.diagonal(dim1=-2, dim2=-1)
    return dist.MultivariateNormal(posterior.loc, torch.diag_embed(variance.expand_as(posterior.loc)))


def test_gaps_of_the_mediocre_guide():
    module = LinearGaussian()
    x = module.bias.detach() + 2 * torch.randn(20, 5)
    gaps = inference_gaps(module.model, module.mediocre_guide, x, module.log_prob(x), num_samples=1000)
    with torch.no_grad():
        approximation = kl(best_diagonal(module.posterior(x)), module.posterior(x)).double()
        inference = module.log_prob(x) - module.elbo(x)
    spare = 0.01  # what 300 steps of Adam leave
    noise = (gaps.elbo_error.square() + gaps.best_elbo_error.square()).sqrt()
    assert ((gaps.inference - inference).abs() < 5 * gaps.elbo_error).all()
    assert ((gaps.approximation - approximation).abs() < 5 * gaps.best_elbo_error + spare).all()
    assert ((gaps.amortization - (inference - approximation)).abs() < 5 * noise + spare).all()
    assert gaps.mean("amortization").value > 10 * gaps.mean("amortization").monte_carlo_error


def test_exact_guide_has_no_gaps():
    module = LinearGaussian()
    x = module.bias.detach() + 2 * torch.randn(20, 5)
    known = log_marginal(module.model, module.guide, x, num_samples=10, estimator="guide")
    gaps = inference_gaps(module.model, module.guide, x, known, num_steps=50)
    assert gaps.inference.abs().max() < 1e-4
    assert (gaps.amortization <= 5 * gaps.amortization_error + 1e-9).all()
    assert gaps.approximation.abs().max() < 0.05
    json.dumps(gaps.to_json(), allow_nan=False)
    assert "amortization gap" in repr(gaps)


def test_gaps_of_a_transformed_gaussian():
    """z ~ LogNormal, log z has the closed form."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.LogNormal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.log(), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.LogNormal(x, 1.0))

    x = torch.tensor([0.5, 1.0, -2.0])
    gaps = inference_gaps(model, guide, x, dist.Normal(0.0, 2**0.5).log_prob(x), num_samples=1000)
    truth = kl(dist.Normal(x, 1.0), dist.Normal(x / 2, 0.5**0.5))
    assert ((gaps.amortization - truth).abs() < 5 * gaps.elbo_error + 0.01).all()
    assert gaps.approximation.abs().max() < 0.02


# Inactive dimensions


def test_prior_where_inactive_keeps_log_prob_and_takes_its_noise():
    """A dead unit with too wide a guide: the same log p(x), and larger effective sample sizes."""
    pair = Diagonal([0.9, 0.0, 0.0, 0.0], width=1.3)
    x = pair.images(30)
    active = torch.tensor([True, False, False, False])
    guides = [pair.guide, prior_where_inactive(pair.model, pair.guide, active)]
    before, after = (log_marginal(pair.model, guide, x, num_samples=2000, estimator="guide") for guide in guides)
    for result in (before, after):
        assert ((result.log_prob - pair.log_prob(x)).abs() < 5 * result.standard_error + 1e-3).all()
    assert (after.ess > 1.2 * before.ess).all()
    assert len(after) == 30


def test_prior_where_inactive_with_all_active_is_the_guide():
    pair = Diagonal([0.9, 0.5], width=1.3)
    x = pair.images(5)
    same = prior_where_inactive(pair.model, pair.guide, torch.tensor([True, True]))
    truth, result = (pyro.poutine.trace(g).get_trace(x) for g in (pair.guide, same))
    value = truth.nodes["z"]["value"]
    assert torch.allclose(result.nodes["z"]["fn"].log_prob(value), truth.nodes["z"]["fn"].log_prob(value))


def test_prior_where_inactive_refuses_what_does_not_factorize():
    active = torch.tensor([True, False])
    for name, words in (
        ("VAE, GaussianMixture", "the prior does not"),
        ("two levels", "active of shape|single latent"),
    ):
        pair = PAIRS[name]()
        with pytest.raises(ValueError, match=words):
            prior_where_inactive(pair.model, pair.guide, active)(pair.x)
