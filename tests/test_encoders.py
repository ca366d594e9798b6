"""The contract of an encoder, over every encoder of `examples.ENCODERS`."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import assert_gradients_reach_everything, assert_survives_a_file
from examples import ENCODERS, NETWORKS, stirred
from goodness_of_fit import assert_sampler_fits_density
from torch import nn
from torch.nn import functional

from pyro_vae import MLP, GaussianEncoder

EVENT_SHAPE = (1, 3, 4)


@pytest.fixture(params=ENCODERS)
def encoder(request):
    return stirred(ENCODERS[request.param](EVENT_SHAPE, 2))


def test_batch_is_the_images_and_event_a_vector(encoder):
    qz = encoder(torch.randn(5, *EVENT_SHAPE))
    assert (qz.batch_shape, qz.event_shape) == ((5,), (2,))
    assert qz.rsample().shape == (5, 2)


def test_images_are_encoded_one_by_one_under_particles(encoder):
    x, z = torch.randn(4, 5, *EVENT_SHAPE), torch.randn(4, 5, 2)
    qz = encoder(x)
    assert qz.batch_shape == (4, 5)
    one_by_one = [[encoder(x[k, b]).log_prob(z[k, b]) for b in range(5)] for k in range(4)]
    torch.testing.assert_close(qz.log_prob(z), torch.stack([torch.stack(row) for row in one_by_one]))


def test_broadcasts_in_a_particle_plate(encoder):
    x = torch.randn(5, *EVENT_SHAPE)
    with pyro.plate("particles", 4, dim=-2), pyro.plate("data", 5, dim=-1):
        z = pyro.sample("z", encoder(x))
    assert z.shape == (4, 5, 2)
    assert len(z.reshape(20, 2).unique(dim=0)) == 20


def test_sampler_fits_density(encoder):
    assert_sampler_fits_density(encoder(torch.randn(EVENT_SHAPE)))


def test_gradients_reach_every_parameter(encoder):
    qz = encoder(torch.randn(20, *EVENT_SHAPE))
    z = qz.rsample()
    # Through the draw, as the ELBO needs them, and through the density.
    assert_gradients_reach_everything(encoder, z.square().sum() + qz.log_prob(z.detach() + 0.1).sum())


@pytest.mark.parametrize("name", ENCODERS)
def test_survives_a_file(name):
    def log_prob(encoder):
        return encoder(torch.linspace(0, 1, 12).reshape(1, *EVENT_SHAPE)).log_prob(torch.tensor([0.3, -0.2]))

    assert_survives_a_file(lambda: stirred(ENCODERS[name](EVENT_SHAPE, 2)), log_prob)


# The Gaussian encoder


def test_mean_and_scale_are_the_networks_outputs():
    encoder, x = GaussianEncoder(3, 2), torch.randn(5, 3)
    loc, raw = encoder.network(x)[:, 0], encoder.network(x)[:, 1]
    expected = dist.Normal(loc, 1e-4 + functional.softplus(raw)).to_event(1)
    z = torch.randn(7, 5, 2)
    torch.testing.assert_close(encoder(x).log_prob(z), expected.log_prob(z))


def test_the_scale_has_a_floor():
    encoder = GaussianEncoder(3, 2, network=functools.partial(MLP, hidden=()))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.fill_(-1e6)
    assert encoder(torch.ones(5, 3)).base_dist.scale.min() >= 1e-4


@pytest.mark.parametrize("name", [name for name in NETWORKS if "Decoder" not in name])
def test_takes_any_network(name):
    make, in_shape, _ = NETWORKS[name]
    assert GaussianEncoder(in_shape, 3, network=make)(torch.randn(5, *in_shape)).event_shape == (3,)


def test_takes_a_network_of_the_users_own():
    class Flat(nn.Module):
        def __init__(self, in_shape, out_shape):
            super().__init__()
            self.linear = nn.Linear(3, 4)
            self.out_shape = out_shape

        def forward(self, x):
            return self.linear(x).unflatten(-1, self.out_shape)

    assert GaussianEncoder(3, 2, network=Flat)(torch.randn(5, 3)).event_shape == (2,)


def test_errors_say_what_was_expected():
    with pytest.raises(ValueError, match=r"Expected latent_dim >= 1; got 0\."):
        GaussianEncoder(3, 0)
    with pytest.raises(ValueError, match=r"Expected input of shape \(\.\.\., 3\) for MLP; got \(5, 4\)\."):
        GaussianEncoder(3, 2)(torch.randn(5, 4))


def test_repr_shows_the_network():
    assert repr(GaussianEncoder(3, 2)).startswith("GaussianEncoder(\n  (network): MLP(")
