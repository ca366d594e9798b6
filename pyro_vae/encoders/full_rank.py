"""Gaussian encoder with all correlations."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..arguments.at_least import at_least
from ..distributions.scale import positive_scale
from ..networks import MLP, MakeNetwork, Shape


class FullRankEncoder(nn.Module):
    """q(z|x) = Normal(m, L L^T), m and L from one network: correlated posteriors of up to some fifty dimensions.

    L = diag(s) (I + N), N strictly lower triangular, so that s_d is the standard deviation of z_d given the dimensions
    before it, with a floor.

    Args:
        event_shape: shape of one x.
        latent_dim: number of latent dimensions D; the network has 2 D + D (D - 1) / 2 outputs.
        network: makes the network from its input and output shape; the encoder says how many outputs it needs.

    Raises:
        ValueError: latent_dim below 1.

    Reference:
        Kingma, Welling 2019, "An introduction to variational autoencoders" (full-covariance posteriors).

    Example:
        >>> qz = FullRankEncoder((1, 8, 8), 20)(torch.zeros(5, 1, 8, 8))
        >>> qz.mean.shape, qz.covariance_matrix.shape
        (torch.Size([5, 20]), torch.Size([5, 20, 20]))
    """

    def __init__(self, event_shape: Shape, latent_dim: int, network: MakeNetwork = MLP) -> None:
        super().__init__()
        at_least(1, latent_dim=latent_dim)
        below = torch.tril_indices(latent_dim, latent_dim, -1)  # rows and columns of N
        self.below = nn.Buffer(below, persistent=False)
        self.sizes = [latent_dim, latent_dim, self.below.shape[1]]
        self.network = network(event_shape, (sum(self.sizes),))

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, raw, below = self.network(x).split(self.sizes, -1)
        rows, columns = self.below
        tril = torch.diag_embed(torch.ones_like(raw))  # (..., B, D, D)
        tril[..., rows, columns] = below
        return dist.MultivariateNormal(loc, scale_tril=positive_scale(raw)[..., None] * tril)
