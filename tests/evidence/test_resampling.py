"""Sequential Monte Carlo: annealed chains that are drawn anew by weight, against closed forms and brute force."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from goodness_of_fit import assert_within_standard_errors

from pyro_vae import annealed_log_marginal
from pyro_vae.evidence.annealed_weights import Ancestry
from pyro_vae.evidence.annealing_path import State

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")

FEW = {"start": "prior", "num_temperatures": 16, "num_chains": 24, "num_leapfrog": 3, "compile": False}
COPIES = 200


@pytest.fixture(scope="module", autouse=True)
def _short_warm_up():
    """To save time: step sizes that are not quite adapted leave an estimate valid."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pyro_vae.evidence.annealed_chains.FIRST_TRANSITIONS", 20)
        patch.setattr("pyro_vae.evidence.annealed_chains.LEAST_TRANSITIONS", 20)
        yield


def pair(noise):
    """A model, copies of one data point, its log p(x); the less noise, the narrower is the posterior."""
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(6, 4, generator=generator)

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 4), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight.T, noise).to_event(1), obs=x)

    x = torch.randn(4, generator=generator) @ weight.T
    covariance = weight @ weight.T + noise**2 * torch.eye(6)
    truth = torch.distributions.MultivariateNormal(torch.zeros(6), covariance).log_prob(x).item()
    return model, x.expand(COPIES, 6), truth


@pytest.fixture(scope="module")
def narrow():
    return pair(0.25)


@pytest.fixture(scope="module")
def estimates(narrow):
    model, x, _ = narrow
    return {share: annealed_log_marginal(model, model, x, resample=share, **FEW) for share in (0.0, 0.5)}


def test_the_mean_weight_is_p_of_x(estimates, narrow):
    assert_within_standard_errors((estimates[0.5].log_prob - narrow[2]).exp(), 1.0)


def test_it_comes_nearer_than_chains_alone_where_temperatures_are_few(estimates, narrow):
    alone, resampled = (estimates[share].log_prob - narrow[2] for share in (0.0, 0.5))
    assert resampled.square().mean().sqrt() < 0.7 * alone.square().mean().sqrt()
    for errors in (alone, resampled):  # lower bounds
        assert errors.mean() < 5 * errors.std() / math.sqrt(COPIES)


def test_errors_see_that_chains_share_ancestors():
    """Chains have equal weights after they were drawn anew; errors from those would say next to nothing."""
    model, x, truth = pair(1.0)
    settings = FEW | {"num_chains": 64, "num_leapfrog": 2, "num_temperatures": 20}
    result = annealed_log_marginal(model, model, x, resample=0.8, **settings)
    trusted = result[~result.unreliable]
    assert len(trusted) > COPIES / 2
    assert trusted.ess.median() < 0.7 * 64
    deviations = (trusted.log_prob - truth) / trusted.standard_error
    assert 0.5 < deviations.square().mean() < 1.6, deviations.square().mean()


def test_few_first_draws_are_not_trusted_and_their_sums_are_no_levels(estimates):
    result = estimates[0.5]
    assert (result.khat == 1).any()
    assert result.khat.isfinite().all()
    assert result.unreliable[result.ess < 4].all()
    assert [*result.log_levels] == [24]
    assert [*estimates[0.0].log_levels] == [1, 10, 24]


def test_which_estimator_it_was(estimates):
    assert estimates[0.5].estimator == "sequential Monte Carlo from the prior"
    assert estimates[0.0].estimator == "annealed importance sampling from the prior"


def test_without_uneven_weights_nothing_is_drawn_anew(linear):
    """With the posterior as guide all weights are equal, so that the numbers are those of chains alone."""
    x = linear.bias.detach() + torch.randn(5, 5)
    settings = {"num_chains": 8, "num_temperatures": 6, "num_leapfrog": 2, "compile": False}
    alone, resampled = (
        annealed_log_marginal(linear.model, linear.guide, x, resample=share, **settings) for share in (0.0, 0.9)
    )
    torch.testing.assert_close(resampled.log_prob, alone.log_prob, rtol=0, atol=1e-12)


def test_draws_belong_to_data_points_whatever_the_chunks(linear):
    x = linear.bias.detach() + torch.randn(6, 5)
    settings = {"num_temperatures": 5, "num_chains": 10, "num_leapfrog": 2, "start": "prior", "resample": 0.9}
    whole = annealed_log_marginal(linear.model, linear.guide, x, compile=False, **settings)
    chunks = annealed_log_marginal(linear.model, linear.guide, x, compile=False, chunk_size=20, **settings)
    torch.testing.assert_close(chunks.log_prob, whole.log_prob, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(chunks.ess, whole.ess, rtol=1e-3, atol=1e-3)


# One resampling, by brute force


def chains(num_chains, num_points):
    u = torch.arange(num_chains * num_points, dtype=torch.float32)[:, None]
    return State(u, *torch.zeros(3, num_chains * num_points))


def test_each_chain_has_as_many_children_as_its_weight_asks_for():
    """Systematic resampling: the expected number, rounded down or up; on average over the offsets, itself."""
    log_weight = torch.randn(7, 3).double() * 2
    expected, counts = 7 * log_weight.softmax(0), torch.zeros(7, 3)
    offsets = (torch.arange(500) + 0.5) / 500
    for offset in offsets:
        ancestry = Ancestry(log_weight)
        state, left = ancestry.resampled(chains(7, 3), log_weight.flatten(), 1.0, offset.expand(3))
        children = torch.stack([(ancestry.first == k).sum(0) for k in range(7)])
        assert ((children - expected).abs() < 1).all()
        counts += children / len(offsets)
        assert torch.equal(state.u.view(7, 3), ancestry.first * 3.0 + torch.arange(3))  # rows go with their parents
        assert (left == 0).all()
        torch.testing.assert_close(ancestry.taken_out, log_weight.logsumexp(0) - math.log(7))
    torch.testing.assert_close(counts, expected.float(), rtol=0, atol=5e-3)


def test_weights_are_summed_by_first_draws():
    ancestry = Ancestry(torch.zeros(4, 2).double())
    ancestry.first = torch.tensor([[0, 1], [0, 1], [2, 1], [3, 1]])
    ancestry.taken_out = torch.tensor([1.0, -2.0]).double()
    log_weight = torch.tensor([[0.1, 0.0], [0.2, 1.0], [-math.inf, 2.0], [0.4, 3.0]]).double()
    found = ancestry.of_first_draws(log_weight)
    w = log_weight.exp()
    one, two = torch.zeros(4).double(), torch.zeros(4).double()
    one[0], one[3] = w[0, 0] + w[1, 0], w[3, 0]
    two[1] = w[:, 1].sum()
    torch.testing.assert_close(found.exp(), torch.stack([one * math.e, two * math.exp(-2)], 1))


def test_a_data_point_without_a_finite_weight_is_left_as_it_is():
    log_weight = torch.tensor([[-math.inf, 0.0], [-math.inf, 9.0]]).double()
    ancestry = Ancestry(log_weight)
    _, left = ancestry.resampled(chains(2, 2), log_weight.flatten(), 1.0, torch.tensor([0.3, 0.3]))
    assert torch.equal(ancestry.first, torch.tensor([[0, 1], [1, 1]]))
    assert torch.equal(left.view(2, 2), torch.tensor([[-math.inf, 0.0], [-math.inf, 0.0]]).double())
    assert not ancestry.of_first_draws(left.view(2, 2)).isnan().any()


@pytest.mark.parametrize("share", [-0.1, 1.5, math.nan])
def test_a_share_out_of_range_is_an_error(linear, share):
    with pytest.raises(ValueError, match=r"Expected resample, a share of num_chains, from 0 to 1; got"):
        annealed_log_marginal(linear.model, linear.guide, torch.zeros(2, 5), resample=share)
