"""Each prior and likelihood goes through the estimators of log p(x), with some of the others; what cannot is refused or
flagged.
"""

import math
import re

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import ESTIMATORS, LIKELIHOODS, PRIORS, LinearGaussian, small_mlp, some_pairs
from pyro import poutine

from pyro_vae import VAE, BidirectionalGap, GaussianEncoder, annealed_log_marginal, log_marginal

pytestmark = [pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail"), pytest.mark.usefixtures("short_warm_up")]

EVENT = (2, 2)
ANNEALED = {"num_chains": 60, "num_temperatures": 5, "num_leapfrog": 2}


@pytest.mark.parametrize(("prior", "likelihood"), some_pairs(PRIORS, LIKELIHOODS))
def test_every_prior_and_likelihood_has_estimates_that_agree(prior, likelihood):
    px = LIKELIHOODS[likelihood](EVENT)
    vae = VAE(PRIORS[prior](2), GaussianEncoder(EVENT, 2, network=small_mlp), small_mlp(2, px.feature_shape), px)
    with torch.no_grad():
        x = poutine.uncondition(vae.model)(torch.zeros(3, *EVENT))
    plain = log_marginal(vae.model, vae.guide, x, num_samples=2000, estimator="guide")
    start = ("guide", "prior")[[*PRIORS].index(prior) % 2]  # each with half of the priors
    others = [annealed_log_marginal(vae.model, vae.guide, x, start=start, **ANNEALED)]
    others.append(log_marginal(vae.model, vae.guide, x, num_samples=1000, defensive=0.3, estimator="guide"))
    for other in others:
        assert other.log_prob.isfinite().all()
        # A floor: errors of a few dozen weights are themselves uncertain.
        error = torch.hypot(plain.standard_error, other.standard_error) + 0.01
        assert ((plain.log_prob - other.log_prob) / error).abs().max() < 6


every_estimator = pytest.mark.parametrize("estimate", ESTIMATORS.values(), ids=ESTIMATORS)


@every_estimator
def test_every_estimator_finds_log_p_and_the_same_for_a_share_of_the_data(estimate):
    linear, seen = LinearGaussian(), []
    x = linear.bias.detach() + 2 * torch.randn(20, 5)
    result = estimate(linear.model, linear.mediocre_guide, x)
    share = estimate(linear.model, linear.mediocre_guide, x, only=[7, 2], on_result=lambda *some: seen.append(some))
    assert [number for numbers, _ in seen for number in numbers] == [7, 2]
    if isinstance(result, BidirectionalGap):
        result, share, x = result.lower, share.lower, result.x
    torch.testing.assert_close(share.log_prob, result[[7, 2]].log_prob, rtol=1e-4, atol=1e-4)
    bias, error = result.standard_error.square().mean() / 2, result.mean.monte_carlo_error
    assert abs(result.mean.value + bias - linear.log_prob(x).mean()) < 5 * error


# Bad input


def normal_model(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)


def drawing(**sites):
    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            for name, make in sites.items():
                pyro.sample(name, make(x), infer={"is_auxiliary": name.startswith("auxiliary")})

    return guide


def near(x):
    return dist.Normal(x / 2, 0.8)


@every_estimator
@pytest.mark.parametrize(
    ("guide", "text"),
    [
        (drawing(), r"it misses ['z']"),
        (drawing(z=near, w=near), r"the guide alone has ['w']"),
        (drawing(auxiliary=near, z=near), "auxiliary site 'auxiliary'"),
        (drawing(z=lambda x: dist.Delta(x)), "site 'z' is a point mass"),
        (drawing(z=lambda x: dist.Uniform(x / 2 - 1.8, x / 2 + 1.8)), "of the support of its prior"),
        (drawing(z=lambda x: dist.Gamma(2 + x.abs(), 1.0)), "of the support of its prior"),
        (normal_model, "observes nothing; got site 'x'"),
    ],
    ids=["none", "one too many", "auxiliary", "point mass", "nearly everywhere", "positive", "the model itself"],
)
def test_guides_that_do_not_fit_are_errors(estimate, guide, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        estimate(normal_model, guide, torch.randn(5))


@every_estimator
@pytest.mark.parametrize("bad", [math.nan, -math.inf])
def test_images_without_a_number_are_flagged_and_the_others_are_not(estimate, bad):
    """An image's own trouble, where x is above 2, never touches its neighbours."""
    linear = LinearGaussian(1, 1)

    def model(x):
        linear.model(x)
        with pyro.plate("again", len(x), dim=-1):
            pyro.factor("trouble", torch.where(x[:, 0] > 2, bad, 0.0))

    if estimate is ESTIMATORS["bidirectional"]:
        with pytest.raises(ValueError, match=r"one observed site|reads nothing off its argument"):
            estimate(model, linear.guide, torch.zeros(3, 1))
        return
    x = torch.tensor([[0.0], [3.0], [1.0]])
    with pyro.validation_enabled(False), pytest.warns(UserWarning, match="not finite for 1 of 3 data points"):
        result = estimate(model, linear.guide, x)
    assert result.unreliable.tolist() == [False, True, False]
    untroubled = estimate(linear.model, linear.guide, x)[[0, 2]].log_prob
    torch.testing.assert_close(result.log_prob[[0, 2]], untroubled, rtol=1e-4, atol=1e-4)
