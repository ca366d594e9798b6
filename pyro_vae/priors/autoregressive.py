"""Autoregressive prior."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..arguments.at_least import at_least
from ..distributions.density import Density
from ..distributions.scale import unit_scale
from ..networks.made import masked_network


class AutoregressivePrior(nn.Module):
    """Each latent a mixture given those before it: when latents depend on each other in ways no flow can bend.

    p(z) = prod_d sum_k w_dk(z_<d) Normal(z_d; m_dk(z_<d), s_dk(z_<d)^2)

    Scored in one pass of a masked network, sampled in D passes.

    Args:
        dim: number of latent dimensions D, at least 2.
        num_components: Gaussians in the mixture of each dimension.
        hidden: widths of the masked network, at least D.

    Raises:
        ValueError: dim below 2, num_components below 1, or hidden layers narrower than dim.

    Reference:
        Uria, Murray, Larochelle 2013, "RNADE: the real-valued neural autoregressive density-estimator"; Germain,
        Gregor, Murray, Larochelle 2015, "MADE: masked autoencoder for distribution estimation".

    Example:
        >>> prior = AutoregressivePrior(20)
        >>> prior().log_prob(torch.zeros(7, 5, 20)).shape
        torch.Size([7, 5])
    """

    def __init__(self, dim: int, num_components: int = 5, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__()
        at_least(1, num_components=num_components)
        self.dim, self.num_components = dim, num_components
        self.network = masked_network(dim, 3 * num_components, hidden)
        self.zeros = nn.Buffer(torch.zeros(dim), persistent=False)

    def forward(self) -> dist.Distribution:
        return Density(self.dim, lambda z: self.conditionals(z).log_prob(z).sum(-1), self._draw)

    def conditionals(self, z: Tensor) -> dist.Distribution:
        """p(z_d | z_<d) of all d at once: batch (..., D) for z (..., D)."""
        logits, loc, raw_scale = self.network(z).mT.chunk(3, -1)  # each (..., D, K)
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), dist.Normal(loc, unit_scale(raw_scale)))

    def _draw(self, shape: torch.Size) -> Tensor:
        z = self.zeros.expand(*shape, self.dim).clone()
        for d in range(self.dim):  # the conditional of d is right once z_<d are
            z[..., d] = self.conditionals(z).sample()[..., d]
        return z

    def extra_repr(self) -> str:
        return f"dim={self.dim}, num_components={self.num_components}"
