"""A VAE with two levels of latents, written as one writes an own model."""

import functools

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from pyro_vae import GatedMLP


class TwoLevelVAE(nn.Module):
    """z2 ~ N(0, I), z1 ~ p(z1|z2), x ~ p(x|z1, z2), with q(z2|x) and q(z1|x, z2).

    Reference:
        Tomczak, Welling 2018, "VAE with a VampPrior" (the hierarchical VAE of its experiments).
    """

    def __init__(self, event_shape: tuple[int, ...], latent_dim: int, hidden: tuple[int, ...] = (300, 300)) -> None:
        super().__init__()
        pixels, gaussian = torch.Size(event_shape).numel(), (2, latent_dim)
        network = functools.partial(GatedMLP, hidden=hidden)
        self.latent_dim = latent_dim
        self.to_z2 = network((pixels,), gaussian)
        self.to_z1 = network((pixels + latent_dim,), gaussian)
        self.z1_of_z2 = network((latent_dim,), gaussian)
        self.decoder = network((2 * latent_dim,), event_shape)

    def model(self, x: Tensor) -> Tensor:
        """p(x, z1, z2) for images x (B, *event_shape)."""
        with pyro.plate("data", len(x), dim=-1):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(self.latent_dim), 1.0).to_event(1))
            z1 = pyro.sample("z1", normal(self.z1_of_z2(z2)))
            logits = self.decoder(torch.cat([z1, z2], -1))
            return pyro.sample("x", dist.Bernoulli(logits=logits).to_event(x.dim() - 1), obs=x)

    def guide(self, x: Tensor) -> None:
        """q(z1, z2|x)."""
        with pyro.plate("data", len(x), dim=-1):
            pixels = x.flatten(1)
            z2 = pyro.sample("z2", normal(self.to_z2(pixels)))
            pixels = pixels.expand(*z2.shape[:-1], -1)  # several draws of z2 for an image
            pyro.sample("z1", normal(self.to_z1(torch.cat([pixels, z2], -1))))


def normal(parameters: Tensor) -> dist.Distribution:
    """Normal of means and unconstrained scales (..., 2, D)."""
    loc, raw = parameters.unbind(-2)
    return dist.Normal(loc, softplus(raw) + 1e-3).to_event(1)
