"""log p(x) from both sides on simulated data, against the closed form."""

import json
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import NOT_ANNEALED, PAIRS, Own, patterns
from goodness_of_fit import assert_within_standard_errors

from pyro_vae import annealed_log_marginal, bidirectional
from pyro_vae.evidence.bidirectional import BidirectionalGap
from pyro_vae.evidence.simulation import simulate
from pyro_vae.pairs.contexts import evaluating

QUICK = {"num_chains": 4, "num_temperatures": 4, "num_leapfrog": 2}


@pytest.fixture(autouse=True)
def _short_warm_up(monkeypatch):
    """To save time: step sizes that are not quite adapted leave the bounds valid."""
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.FIRST_TRANSITIONS", 8)
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.LEAST_TRANSITIONS", 6)


def assert_brackets(result, truth):
    """The means of lower and upper over images lie on their sides of the truth, within 5 standard errors."""
    for excess in (truth - result.lower.log_prob, result.upper.log_prob - truth):
        assert excess.mean().item() > -5 * excess.std().item() / len(truth) ** 0.5


@pytest.mark.parametrize("start", ["guide", "prior"])
def test_the_truth_lies_between_the_bounds_and_the_gap_closes(linear, start):
    linear.width = 2.0
    few, many = (
        bidirectional(
            linear.model,
            linear.mediocre_guide,
            torch.zeros(300, 5),
            start=start,
            num_chains=4,
            num_temperatures=count,
            num_leapfrog=3,
        )
        for count in (2, 50)
    )
    for result in (few, many):
        assert_brackets(result, linear.log_prob(result.x))
    assert few.mean_gap.value > 5 * few.mean_gap.standard_error
    assert many.mean_gap.value < few.mean_gap.value / 3
    assert many.mean_gap.value < 0.6


@pytest.mark.parametrize("num_temperatures", [1, 4])
def test_weights_of_both_directions_are_unbiased(linear, num_temperatures):
    """E[w] / p(x) = 1 and E[v] p(x) = 1 for one chain; for the guide, whose weights have a variance both ways."""
    result = bidirectional(
        linear.model,
        linear.mediocre_guide,
        torch.zeros(3000, 5),
        num_chains=1,
        num_temperatures=num_temperatures,
        num_leapfrog=2,
    )
    truth = linear.log_prob(result.x)
    assert_within_standard_errors((result.lower.log_prob - truth).exp(), 1.0)
    assert_within_standard_errors((truth - result.upper.log_prob).exp(), 1.0)


def test_the_exact_posterior_leaves_no_gap(linear):
    result = bidirectional(linear.model, linear.guide, torch.zeros(20, 5), **QUICK)
    truth = linear.log_prob(result.x)
    torch.testing.assert_close(result.lower.log_prob, truth, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(result.upper.log_prob, truth, rtol=1e-5, atol=1e-5)


def test_one_temperature_is_importance_sampling_and_its_harmonic_twin(linear):
    """With T = 1, upper is log q0(z)^-1 p(x, z) at the very z that x was drawn from, whatever the chains."""
    one, two = (
        bidirectional(linear.model, linear.mediocre_guide, torch.zeros(9, 5), num_temperatures=1, num_chains=k)
        for k in (1, 6)
    )
    torch.testing.assert_close(one.upper.log_prob, two.upper.log_prob)
    assert two.upper.standard_error.max() < 1e-6


def test_a_positive_latent():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Poisson(pyro.sample("z", dist.Gamma(3.0, 1.5))), obs=x)

    result = bidirectional(
        model, model, torch.zeros(300), start="prior", num_chains=4, num_temperatures=30, num_leapfrog=3
    )
    assert_brackets(result, dist.NegativeBinomial(3.0, probs=torch.tensor(1 / 2.5)).log_prob(result.x).double())
    assert abs(result.mean_gap.value) < 0.1


@pytest.mark.parametrize("name", [name for name in PAIRS if name not in ("inner plate", *NOT_ANNEALED)])
def test_every_pair_has_a_gap(name, monkeypatch):
    monkeypatch.setattr(sys.modules["pyro_vae.evidence.bidirectional"], "MOVES", 6)  # to save time, once more
    pair = PAIRS[name]()
    with pyro.get_param_store().scope():
        pair.guide(pair.x), pair.model(pair.x)
        state = torch.get_rng_state()
        result = bidirectional(pair.model, pair.guide, pair.x[:6], chunk_size=16, **QUICK)
        if name in ("VAE, VampPrior", "VAE, simplex", "two levels"):  # it repeats
            again = bidirectional(pair.model, pair.guide, pair.x[:6], chunk_size=16, **QUICK)
            assert torch.equal(result.upper.log_prob, again.upper.log_prob)
            assert torch.equal(result.lower.log_prob, again.lower.log_prob)
        assert torch.equal(torch.get_rng_state(), state)
        assert result.x.shape == pair.x[:6].shape
        assert result.gap.isfinite().all()
        acceptance = result.upper.details["acceptance"]
        assert ((acceptance >= 0) & (acceptance <= 1)).all()
        assert acceptance.mean() > 0.2
        assert (result.gap_standard_error >= result.lower.standard_error).all()


def test_images_are_draws_of_the_model_with_the_latents_they_came_from(linear):
    with evaluating(linear.model, linear.guide):
        x, z = simulate(linear.model, torch.zeros(20_000, 5))
        residual = (x - z @ linear.weight.T - linear.bias) / linear.log_scale.exp()
    assert z.shape == (20_000, 2)
    for values in (z, residual):
        assert_within_standard_errors(values.flatten(), 0.0)
        assert_within_standard_errors(values.flatten().square(), 1.0)


def test_modes_and_gradients_are_as_before():
    module = Own()
    module.decode.insert(1, torch.nn.Dropout(0.5))
    bidirectional(module.model, module.guide, patterns(3, (12,)), **QUICK)
    assert all(m.training for m in module.modules())
    assert all(p.requires_grad and p.grad is None for p in module.parameters())


def test_the_result_shows_itself(linear):
    result = bidirectional(linear.model, linear.guide, torch.zeros(7, 5), **QUICK)
    assert len(result) == 7
    assert repr(result).startswith(f"BidirectionalGap({result.mean_gap.value:.3f} +- ")
    assert repr(result).endswith("4 chains, 4 temperatures)")


def test_a_saved_result_is_loaded_again(linear, tmp_path):
    result = bidirectional(linear.model, linear.mediocre_guide, torch.zeros(7, 5), **QUICK)
    result.save(tmp_path / "gap")
    again = BidirectionalGap.load(tmp_path / "gap")
    assert repr(again) == repr(result)
    assert torch.equal(again.x, result.x)
    for side in ("lower", "upper"):
        found, expected = (getattr(gap, side).arrays() for gap in (again, result))
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
        assert getattr(again, side).bound == side
    assert json.loads((tmp_path / "gap.json").read_text())["mean_gap"] == result.mean_gap.value
    (tmp_path / "gap.npz").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"Expected a saved BidirectionalGap in .*Make it again"):
        BidirectionalGap.load(tmp_path / "gap")


def test_chains_of_the_upper_bound_start_apart(linear):
    """With all chains at the one sample that x was drawn with, its errors would be seven times too small here."""
    result = bidirectional(
        linear.model, linear.mediocre_guide, torch.zeros(200, 5), num_chains=32, num_temperatures=4, num_leapfrog=3
    )
    deviation = (result.upper.log_prob - linear.log_prob(result.x)) / result.upper.standard_error
    assert deviation.square().mean().sqrt() < 2.5


# Errors


def test_a_model_that_observes_two_sites_is_an_error():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)
            pyro.sample("y", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ValueError, match="Expected site 'y' to observe an input of the model as it is"):
        bidirectional(model, model, torch.zeros(5), start="prior")


def test_a_model_that_observes_something_else_than_its_argument_is_an_error():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=2 * x)

    with pytest.raises(ValueError, match="Expected site 'x' to observe an input of the model as it is"):
        bidirectional(model, model, torch.ones(5), start="prior")
    pair = PAIRS["inner plate"]()
    with pytest.raises(ValueError, match=r"of shape \(12,\); it observes other values, of shape"):
        bidirectional(pair.model, pair.guide, pair.x)


def test_no_images_are_an_error(linear):
    with pytest.raises(ValueError, match="Expected like to hold at least one data point"):
        bidirectional(linear.model, linear.guide, torch.zeros(0, 5))


def test_forward_chains_are_those_of_the_annealed_estimate(linear):
    """Not the same random numbers, but the same estimate within its errors."""
    settings = {"num_chains": 50, "num_temperatures": 20, "num_leapfrog": 2}
    result = bidirectional(linear.model, linear.mediocre_guide, torch.zeros(10, 5), **settings)
    alone = annealed_log_marginal(linear.model, linear.mediocre_guide, result.x, **settings)
    deviations = (result.lower.log_prob - alone.log_prob) / torch.hypot(
        result.lower.standard_error, alone.standard_error
    )
    assert deviations.abs().max() < 5
