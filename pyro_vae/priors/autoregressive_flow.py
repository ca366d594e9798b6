"""Masked autoregressive flow prior."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..arguments.at_least import at_least
from ..distributions.chain import Chain
from ..distributions.scale import unit_scale
from ..networks.made import masked_network


class AutoregressiveFlow(nn.Module):
    """A masked autoregressive flow: more flexible a step than couplings; scored in one pass, sampled in D passes.

    p(z) = Normal(f(z); 0, I) |det df/dz|,  f a chain of e_d = (z_d - m(z_<d)) / s(z_<d)

    The order of dimensions is reversed between steps.

    Args:
        dim: number of latent dimensions D, at least 2.
        num_transforms: number of steps; 0 is the standard normal.
        hidden: widths of each step's masked network, at least D.

    Raises:
        ValueError: dim below 2, a negative num_transforms, or hidden layers narrower than dim.

    Reference:
        Papamakarios, Pavlakou, Murray 2017, "Masked autoregressive flow for density estimation".

    Example:
        >>> prior = AutoregressiveFlow(20)
        >>> prior().log_prob(torch.zeros(7, 5, 20)).shape
        torch.Size([7, 5])
    """

    def __init__(self, dim: int, num_transforms: int = 4, hidden: Sequence[int] = (128, 128)) -> None:
        super().__init__()
        at_least(0, num_transforms=num_transforms)
        self.chain = Chain(dim, (MaskedAffine(dim, hidden) for _ in range(num_transforms)))

    def forward(self) -> dist.Distribution:
        return self.chain()


class MaskedAffine(nn.Module):
    """z_d = m(z_<d) + s(z_<d) e_d, m and s from one masked network."""

    def __init__(self, dim: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.network = masked_network(dim, 2, hidden)

    def forward(self, e: Tensor) -> Tensor:
        z = torch.zeros_like(e)
        for d in range(e.shape[-1]):  # m and s of d are right once z_<d are
            shift, scale = self._shift_and_scale(z)
            z = torch.cat([z[..., :d], (shift + scale * e)[..., d : d + 1], z[..., d + 1 :]], -1)
        return z

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        shift, scale = self._shift_and_scale(z)
        return (z - shift) / scale, -scale.log().sum(-1)

    def _shift_and_scale(self, z: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw_scale = self.network(z).unbind(-2)  # each (..., D)
        return shift, unit_scale(raw_scale)
