"""Draws with less noise have the moments they should, for every kind of prior that can, and the others are refused."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import PAIRS, LinearGaussian
from goodness_of_fit import assert_within_standard_errors
from torch.distributions import ExpTransform

from pyro_vae import CouplingFlow, DiagonalNormal, GaussianMixture, LaplacePrior, StandardNormal, sample, tempered
from pyro_vae.distributions.truncated_normal import TruncatedNormal

N = 20_000


def drawn(prior, **noise):
    """Draws of z alone."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", prior())
            pyro.sample("x", dist.Delta(z, event_dim=z.dim() - 1), obs=x)

    with torch.no_grad():
        return sample(model, torch.zeros(N, *prior().event_shape), **noise)[0]


def test_data_at_a_temperature_have_the_covariance_of_less_noise():
    linear = LinearGaussian()
    draws, _ = sample(linear.model, torch.zeros(N, 5), temperature=0.5)
    with torch.no_grad():  # the noise of x given z stays
        covariance = 0.25 * linear.weight @ linear.weight.T + (2 * linear.log_scale).exp() * torch.eye(5)
        centred = draws - linear.bias
        for i in range(5):
            assert_within_standard_errors(centred[:, i], 0.0)
            assert_within_standard_errors(centred[:, i] * centred[:, 0], covariance[i, 0].item())


def test_temperature_one_draws_the_same():
    linear = LinearGaussian()
    assert tempered(linear.model) == linear.model
    same = sample(linear.model, torch.zeros(9, 5), temperature=1.0, truncation=None)[0]
    assert torch.equal(sample(linear.model, torch.zeros(9, 5))[0], same)


@pytest.mark.parametrize(("temperature", "limit"), [(1.0, 2.0), (0.5, 1.0), (3.0, 0.1)])
def test_truncated_draws_have_the_variance_of_what_is_left(temperature, limit):
    z = drawn(StandardNormal(2), temperature=temperature, truncation=limit)
    assert z.abs().max() <= temperature * limit * (1 + 1e-6)
    density = math.exp(-(limit**2) / 2) / math.sqrt(2 * math.pi)
    variance = 1 - 2 * limit * density / math.erf(limit / math.sqrt(2))
    assert_within_standard_errors(z.square().flatten(), temperature**2 * variance)
    assert_within_standard_errors(z.flatten(), 0.0)


def test_a_truncated_density_integrates_to_one_and_is_zero_outside():
    fn = TruncatedNormal(torch.tensor(1.0), torch.tensor(2.0), 1.5).expand([3])
    grid = torch.linspace(-2, 4, 20_001, dtype=torch.double)  # loc +- 1.5 * 2
    torch.testing.assert_close(
        torch.trapezoid(fn.log_prob(grid[:, None]).exp()[:, 0], grid), torch.tensor(1.0).double()
    )
    assert fn.log_prob(torch.tensor([-2.1, 1.0, 4.1])).isfinite().tolist() == [False, True, False]
    assert fn.sample((5,)).shape == (5, 3)


@pytest.mark.parametrize("covariance", ["diagonal", "low-rank", "full"])
def test_components_of_a_mixture_are_narrower_and_keep_their_weights(covariance):
    prior = GaussianMixture(2, num_components=2, covariance=covariance)
    with torch.no_grad():
        prior.loc.copy_(torch.tensor([[-50.0, 0.0], [50.0, 0.0]]))
        prior.logits.copy_(torch.tensor([0.0, math.log(3)]))
        z, as_it_is = drawn(prior, temperature=0.5), drawn(prior)
    right = z[:, 0] > 0
    assert_within_standard_errors(right.float(), 0.75)
    centred = z - torch.where(right[:, None], 1, -1) * torch.tensor([50.0, 0.0])
    reference = as_it_is - torch.where(as_it_is[:, :1] > 0, 1, -1) * torch.tensor([50.0, 0.0])
    errors = reference.square().std(0) / 4 / N**0.5 + centred.square().std(0) / N**0.5
    assert ((centred.square().mean(0) - reference.square().mean(0) / 4).abs() < 5 * errors).all()


def test_a_truncated_mixture_stays_near_its_means():
    prior = GaussianMixture(2, num_components=2)
    with torch.no_grad():
        prior.loc.copy_(torch.tensor([[-50.0, 0.0], [50.0, 0.0]]))
    z = drawn(prior, truncation=0.5)
    scale = (drawn(prior) - torch.where(drawn(prior)[:, :1] > 0, 1, -1) * torch.tensor([50.0, 0.0])).std()
    assert (z[:, 0].abs() - 50).abs().max() < scale


def test_of_a_flow_the_noise_is_less():
    prior = CouplingFlow(3, num_transforms=2, hidden=(8,))
    pz = prior()
    with torch.no_grad():
        middle = torch.zeros(1, 3)
        for transform in pz.transforms:
            middle = transform(middle)
    z = drawn(prior, temperature=1e-4)
    torch.testing.assert_close(z, middle.expand_as(z), rtol=0, atol=0.01)

    def lognormal():
        return dist.TransformedDistribution(dist.Normal(torch.zeros(2), 1.0), [ExpTransform()]).to_event(1)

    assert_within_standard_errors(drawn(lognormal, temperature=0.5).log().square().flatten(), 0.25)


def test_both_levels_of_a_hierarchy_have_less_noise():
    two = PAIRS["two levels"]()
    cold, _ = sample(two.model, two.x, temperature=1e-6, seed=1)
    means = [sample(two.model, two.x, temperature=1e-6, seed=seed)[1] for seed in (1, 2)]
    torch.testing.assert_close(*means, rtol=1e-3, atol=1e-3)  # no noise is left in the latents
    assert cold.shape == two.x.shape


def test_discrete_latents_stay_as_they_are():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            y = pyro.sample("y", dist.Bernoulli(0.25))
            z = pyro.sample("z", dist.Normal(10 * y, 1.0))
            pyro.sample("x", dist.Normal(z, 1e-3), obs=x)

    draws, _ = sample(model, torch.zeros(N), temperature=0.01)
    assert_within_standard_errors((draws > 5).float(), 0.25)
    assert (draws - 10 * (draws > 5)).abs().max() < 0.1


@pytest.mark.parametrize(
    ("prior", "noise", "text"),
    [
        (StandardNormal(2), {"temperature": 0.0}, r"Expected temperature > 0; got 0\.0"),
        (StandardNormal(2), {"truncation": math.nan}, r"Expected truncation > 0; got nan"),
        (LaplacePrior(2), {"temperature": 0.5}, r"at site 'z' that are normal, .*; got Laplace\."),
        (
            lambda: dist.MultivariateNormal(torch.zeros(2), torch.eye(2)),
            {"truncation": 2.0},
            r"got MultivariateNormal, to be truncated\. Leave temperature and truncation out",
        ),
        (
            lambda: dist.Bernoulli(torch.full((2,), 0.5)).to_event(1),
            {"temperature": 0.5},
            r"Expected continuous latents",
        ),
    ],
)
def test_what_cannot_have_less_noise_is_refused(prior, noise, text):
    with pytest.raises(ValueError, match=text):
        drawn(prior, **noise)


def test_learned_scales_count():
    prior = DiagonalNormal(2)
    with torch.no_grad():
        prior.raw_scale.add_(1.0)
        variance = prior().variance[0].item()
    assert_within_standard_errors((drawn(prior, temperature=0.5)[:, 0] - prior.loc[0].item()).square(), variance / 4)
