"""Dirichlet encoder."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn

from ..arguments.at_least import at_least
from ..distributions.scale import positive_scale
from ..networks import MLP, MakeNetwork, Shape


class DirichletEncoder(nn.Module):
    """q(z|x) = Dirichlet(a(x)) on the simplex, sparse where it wants to be; for any prior on the simplex.

    Gradients are torch's pathwise ones. Concentrations stay above 0.1: below, draws of float32 round to the edges of
    the simplex, where the density is infinite (at 0.1 two parts in ten thousand do, at 0.01 four in ten).

    Args:
        event_shape: shape of one x.
        latent_dim: number of latent dimensions D, the parts of the simplex, at least 2.
        network: makes the network from its input and output shape.

    Raises:
        ValueError: latent_dim below 2.

    Reference:
        Jankowiak, Obermeyer 2018, "Pathwise derivatives beyond the reparameterization trick"; Joo and others 2020,
        "Dirichlet variational autoencoder".

    Example:
        >>> import torch
        >>> DirichletEncoder((1, 8, 8), 20)(torch.zeros(5, 1, 8, 8)).support
        Simplex()
    """

    def __init__(self, event_shape: Shape, latent_dim: int, network: MakeNetwork = MLP) -> None:
        super().__init__()
        at_least(2, latent_dim=latent_dim)  # parts of a simplex
        self.network = network(event_shape, (latent_dim,))

    def forward(self, x: Tensor) -> dist.Distribution:
        return dist.Dirichlet(positive_scale(self.network(x), 0.1))
