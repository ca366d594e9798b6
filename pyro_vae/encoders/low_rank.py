"""Gaussian encoder with correlations of low rank."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn

from ..distributions.scale import positive_scale
from ..networks import MLP, MakeNetwork, Shape


class LowRankEncoder(nn.Module):
    """q(z|x) = Normal(m, S (I + F F^T) S), F (D, R): the main correlations of many latents.

    S is diagonal, and F relative to it, so that the covariance is well conditioned whatever they are. The network has
    D (2 + R) outputs.

    Args:
        event_shape: shape of one x.
        latent_dim: number of latent dimensions D.
        network: makes the network from its input and output shape; the encoder says how many outputs it needs.
        rank: R, directions of correlation, from 1 to D.

    Raises:
        ValueError: latent_dim below 1, or a rank that is not from 1 to latent_dim.

    Reference:
        Rezende, Mohamed, Wierstra 2014, "Stochastic backpropagation and approximate inference in deep generative
        models" (there a precision of rank one).

    Example:
        >>> import torch
        >>> qz = LowRankEncoder((1, 8, 8), 40, rank=3)(torch.zeros(5, 1, 8, 8))
        >>> qz.event_shape, qz.cov_factor.shape
        (torch.Size([40]), torch.Size([5, 40, 3]))
    """

    def __init__(self, event_shape: Shape, latent_dim: int, network: MakeNetwork = MLP, rank: int = 2) -> None:
        super().__init__()
        if not 1 <= rank <= latent_dim:
            raise ValueError(
                f"Expected rank from 1 to latent_dim, {latent_dim}; got {rank}. For no correlations use "
                f"GaussianEncoder, for all of them FullRankEncoder."
            )
        self.rank = rank
        self.network = network(event_shape, (2 + rank, latent_dim))

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, raw, factor = self.network(x).split([1, 1, self.rank], -2)  # each (..., B, *, D)
        sigma = positive_scale(raw)
        covariance = {"cov_factor": (sigma * factor).mT, "cov_diag": sigma.squeeze(-2).square()}
        return dist.LowRankMultivariateNormal(loc.squeeze(-2), **covariance)

    def extra_repr(self) -> str:
        return f"rank={self.rank}"
