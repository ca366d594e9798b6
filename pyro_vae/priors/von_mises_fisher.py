"""Von Mises-Fisher prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import nn
from torch.nn import functional

from ..distributions.von_mises_fisher import VonMisesFisher


class VonMisesFisherPrior(nn.Module):
    """p(z) = vMF(m, k) on the unit sphere, learned: directions that prefer one side, as far as the data do.

    Starts nearly uniform, around a random direction.

    Args:
        dim: number of latent dimensions D, at least 2.

    Raises:
        ValueError: dim below 2.

    Reference:
        Davidson, Falorsi, De Cao, Kipf, Tomczak 2018, "Hyperspherical variational auto-encoders".

    Example:
        >>> VonMisesFisherPrior(20)().event_shape
        torch.Size([20])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim < 2:
            raise ValueError(f"Expected dim >= 2, a sphere and not two points; got {dim}. Use BernoulliPrior instead.")
        self.direction = nn.Parameter(torch.randn(dim))
        self.raw_concentration = nn.Parameter(torch.tensor(-2.0))

    def forward(self) -> dist.Distribution:
        concentration = len(self.direction) * functional.softplus(self.raw_concentration)  # its scale grows with D
        return VonMisesFisher(functional.normalize(self.direction, dim=-1), concentration)

    def extra_repr(self) -> str:
        return f"dim={len(self.direction)}"
