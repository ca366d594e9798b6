"""Laplace prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import nn

from ..arguments.at_least import at_least
from ..distributions.scale import unit_scale


class LaplacePrior(nn.Module):
    """Independent Laplace latents with learned scales: when few latents at a time should be far from 0.

    p(z) = prod_d Laplace(z_d; 0, s_d)

    Args:
        dim: number of latent dimensions.

    Raises:
        ValueError: dim below 1.

    Reference:
        Barello, Charles, Pillow 2018, "Sparse-coding variational auto-encoders".

    Example:
        >>> LaplacePrior(20)().event_shape
        torch.Size([20])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        at_least(1, dim=dim)
        self.raw_scale = nn.Parameter(torch.zeros(dim))
        self.loc = nn.Buffer(torch.zeros(dim), persistent=False)

    def forward(self) -> dist.Distribution:
        return dist.Laplace(self.loc, unit_scale(self.raw_scale)).to_event(1)

    def extra_repr(self) -> str:
        return f"dim={len(self.loc)}"
