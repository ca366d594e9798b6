"""Parts of the lists work with others: a VAE of each pair takes a training step and is evaluated.

A prior and a likelihood meet only through a decoder: each is tried with some of the others, in turn.
"""

import functools

import pytest
import torch
from examples import ENCODERS, LIKELIHOODS, NETWORKS, PRIORS, small_mlp, some_pairs

from pyro_vae import VAE, Bernoulli, GaussianEncoder, PixelCNN, Poisson, StandardNormal, fit, log_marginal

EVENT_SHAPE, LATENT_DIM = (1, 4, 4), 2
ALL_LIKELIHOODS = {**LIKELIHOODS, "PixelCNN": functools.partial(PixelCNN, channels=4, num_layers=1)}


def assert_trains_and_is_evaluated(prior, encoder, likelihood, event_shape, decoder=None):
    decoder = decoder or small_mlp(LATENT_DIM, likelihood.feature_shape)
    with torch.no_grad():  # data that this likelihood can give
        x = likelihood(0.1 * torch.randn(6, *likelihood.feature_shape)).sample()
    assert x.shape[1:] == event_shape
    vae = VAE(prior, encoder, decoder, likelihood)
    before = [parameter.detach().clone() for parameter in vae.parameters()]
    result = fit(vae.model, vae.guide, x, epochs=1, batch_size=6, compile=False)
    assert torch.tensor(result.history[0]["loss"]).isfinite()
    assert any(not torch.equal(a, b) for a, b in zip(before, vae.parameters(), strict=True))
    estimate = log_marginal(vae.model, vae.guide, x, num_samples=2, estimator="guide")
    assert estimate.log_prob.shape == (6,)
    assert estimate.log_prob.isfinite().all()


@pytest.mark.parametrize(("likelihood", "prior"), some_pairs(ALL_LIKELIHOODS, PRIORS))
def test_priors_with_likelihoods(likelihood, prior):
    encoder = GaussianEncoder(EVENT_SHAPE, LATENT_DIM, network=small_mlp)
    assert_trains_and_is_evaluated(
        PRIORS[prior](LATENT_DIM), encoder, ALL_LIKELIHOODS[likelihood](EVENT_SHAPE), EVENT_SHAPE
    )


@pytest.mark.parametrize(("network", "encoder"), some_pairs(NETWORKS, ENCODERS))
def test_encoders_with_networks(network, encoder):
    """Networks of images to vectors encode the images of their size; all others decode what is a vector to theirs."""
    make, in_shape, out_shape = NETWORKS[network]
    if "Decoder" in network:
        decoder, event_shape = make(LATENT_DIM, out_shape), out_shape
        own = ENCODERS[encoder](event_shape, LATENT_DIM)
    else:
        event_shape, decoder = in_shape, None
        try:
            own = ENCODERS[encoder](event_shape, LATENT_DIM, network=make)
        except TypeError:
            pytest.skip(f"{encoder} takes no other network")
    assert_trains_and_is_evaluated(StandardNormal(LATENT_DIM), own, Bernoulli(event_shape), event_shape, decoder)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
@pytest.mark.parametrize("own_type", [torch.float32, torch.float64])
def test_whole_numbers_train_as_floating_point_ones_do(dtype, own_type):
    counts, histories = torch.arange(60).view(20, 3) % 7, []
    for x in (counts.to(dtype), counts.to(own_type)):
        torch.manual_seed(0)
        vae = VAE(StandardNormal(2), GaussianEncoder((3,), 2), small_mlp(2, (3,)), Poisson((3,))).to(own_type)
        result = fit(vae.model, vae.guide, x, validation=x, epochs=2, batch_size=5, compile=False)
        histories.append([metrics["validation_elbo"] for metrics in result.history])
        assert log_marginal(vae.model, vae.guide, x, num_samples=3).log_prob.isfinite().all()
    assert histories[0] == histories[1]
