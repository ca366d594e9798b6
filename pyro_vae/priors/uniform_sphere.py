"""Uniform prior on the sphere."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import nn

from ..distributions.von_mises_fisher import VonMisesFisher


class UniformSphere(nn.Module):
    """p(z) uniform on the unit sphere |z| = 1: latents that are directions, without a center to collapse to.

    p(z) = Gamma(D/2) / (2 pi^{D/2})

    Args:
        dim: number of latent dimensions D, at least 2; the sphere has D - 1.

    Raises:
        ValueError: dim below 2.

    Reference:
        Davidson, Falorsi, De Cao, Kipf, Tomczak 2018, "Hyperspherical variational auto-encoders".

    Example:
        >>> UniformSphere(3)().log_prob(torch.tensor([0.0, 0.6, 0.8]))  # -log(4 pi)
        tensor(-2.5310)
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim < 2:
            raise ValueError(
                f"Expected dim >= 2; got {dim}. A sphere in one dimension is two points: use BernoulliPrior instead."
            )
        self.loc = nn.Buffer(torch.eye(dim)[0], persistent=False)  # any: at concentration 0 it does not matter

    def forward(self) -> dist.Distribution:
        return VonMisesFisher(self.loc, torch.zeros_like(self.loc[0]))

    def extra_repr(self) -> str:
        return f"dim={len(self.loc)}"
