"""Diagonal Gaussian encoder."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn

from ..arguments.at_least import at_least
from ..distributions.scale import positive_scale
from ..networks import MLP, MakeNetwork, Shape


class GaussianEncoder(nn.Module):
    """q(z|x) = Normal(m(x), diag(s(x)^2)), mean and scale from one network: the textbook encoder, and the fastest.

    Args:
        event_shape: shape of one x.
        latent_dim: number of latent dimensions D.
        network: makes the network from its input and output shape; the encoder says how many outputs it needs.

    Raises:
        ValueError: latent_dim below 1.

    Reference:
        Kingma, Welling 2014, "Auto-encoding variational Bayes".

    Example:
        >>> import functools, torch
        >>> from pyro_vae.networks import GatedMLP
        >>> encoder = GaussianEncoder((1, 8, 8), 20, network=functools.partial(GatedMLP, hidden=(64,)))
        >>> qz = encoder(torch.zeros(5, 1, 8, 8))
        >>> qz.batch_shape, qz.event_shape
        (torch.Size([5]), torch.Size([20]))
    """

    def __init__(self, event_shape: Shape, latent_dim: int, network: MakeNetwork = MLP) -> None:
        super().__init__()
        at_least(1, latent_dim=latent_dim)
        self.network = network(event_shape, (2, latent_dim))

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, raw = self.network(x).unbind(-2)  # each (..., B, D)
        return dist.Normal(loc, positive_scale(raw)).to_event(1)
