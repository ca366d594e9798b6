"""Draws and reconstructions come from the model that is trained, for any pair."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import PAIRS, LinearGaussian
from goodness_of_fit import assert_within_standard_errors

from pyro_vae import reconstruct, sample


@pytest.mark.parametrize("name", PAIRS)
def test_samples_and_reconstructions_of_every_pair(name):
    pair = PAIRS[name]()
    with pyro.get_param_store().scope():
        pair.guide(pair.x), pair.model(pair.x)
        check(pair)


def check(pair):
    state = torch.get_rng_state()
    draws, means = sample(pair.model, pair.x, seed=1)
    again, _ = sample(pair.model, torch.zeros_like(pair.x), seed=1)
    assert torch.equal(draws, again)  # of the model alone: the images given do not matter
    shape = pair.x.mT.shape if len(draws) != len(pair.x) else pair.x.shape  # images of an inner plate lie across
    assert draws.shape == means.shape == shape
    assert not torch.equal(draws, sample(pair.model, pair.x, seed=2)[0])
    first = reconstruct(pair.model, pair.guide, pair.x, seed=1)
    assert first.shape == shape
    assert torch.equal(first, reconstruct(pair.model, pair.guide, pair.x, seed=1))
    assert not first.requires_grad
    assert torch.equal(torch.get_rng_state(), state)


def test_samples_have_the_moments_of_p_x():
    linear = LinearGaussian()
    draws, _ = sample(linear.model, torch.zeros(20_000, 5))
    with torch.no_grad():
        covariance = linear.weight @ linear.weight.T + (2 * linear.log_scale).exp() * torch.eye(5)
        centred = draws - linear.bias
        for i in range(5):
            assert_within_standard_errors(centred[:, i], 0.0)
            for j in range(i + 1):
                assert_within_standard_errors(centred[:, i] * centred[:, j], covariance[i, j].item())


def test_reconstructions_are_means_at_a_draw_from_the_guide():
    linear = LinearGaussian()
    x = torch.randn(4, 5)
    draws = torch.stack([reconstruct(linear.model, linear.guide, x, seed=s) for s in range(400)])
    with torch.no_grad():
        expected = linear.posterior(x).mean @ linear.weight.T + linear.bias
    for b in range(4):
        for d in range(5):
            assert_within_standard_errors(draws[:, b, d], expected[b, d].item())


def test_a_distribution_without_a_mean_shows_its_draw():
    class Meanless(dist.Normal):
        @property
        def mean(self):
            raise NotImplementedError

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", Meanless(torch.zeros(len(x)), 1.0), obs=x)

    draws, means = sample(model, torch.zeros(5))
    assert torch.equal(draws, means)


def test_without_an_observed_site_there_is_nothing_to_draw():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(
        ValueError, match=r"Expected a model with an observed site, pyro.sample\(\.\.\., obs=x\); got none"
    ):
        sample(model, torch.randn(5, 2))
