"""Heavy-tailed encoder."""

from __future__ import annotations

import math

import pyro.distributions as dist
from torch import Tensor, nn

from ..arguments.at_least import at_least
from ..distributions.scale import positive_scale
from ..networks import MLP, MakeNetwork, Shape


class StudentTEncoder(nn.Module):
    """q(z|x) = prod_d StudentT(z_d; df, m_d(x), s_d(x)): heavy tails, which keep importance weights bounded.

    The degrees of freedom are fixed: trained by the ELBO, which hardly sees the tails, they would grow until the tails
    are gone. Towards a Gaussian prior they cost a KL of 0.05 nats for each dimension at df=5, 0.01 at df=10.

    Args:
        event_shape: shape of one x.
        latent_dim: number of latent dimensions D.
        network: makes the network from its input and output shape; the encoder says how many outputs it needs.
        df: degrees of freedom, above 2; the larger, the closer to a Gaussian.

    Raises:
        ValueError: latent_dim below 1, or df not above 2, where KL(q || p) to a Gaussian prior is infinite.

    Reference:
        Owen 2013, "Monte Carlo theory, methods and examples", chapter 9 (heavy-tailed proposals).

    Example:
        >>> import torch
        >>> StudentTEncoder((1, 8, 8), 20, df=4.0)(torch.zeros(5, 1, 8, 8)).rsample().shape
        torch.Size([5, 20])
    """

    def __init__(self, event_shape: Shape, latent_dim: int, network: MakeNetwork = MLP, df: float = 5.0) -> None:
        super().__init__()
        at_least(1, latent_dim=latent_dim)
        if not 2 < df < math.inf:
            raise ValueError(
                f"Expected a finite df > 2, else KL(q || p) to a Gaussian prior is infinite; got {df}. Use df=3."
            )
        self.df = df
        self.network = network(event_shape, (2, latent_dim))

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, raw = self.network(x).unbind(-2)  # each (..., B, D)
        return dist.StudentT(self.df, loc, positive_scale(raw)).to_event(1)

    def extra_repr(self) -> str:
        return f"df={self.df:g}"
