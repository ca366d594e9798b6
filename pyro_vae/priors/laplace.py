"""Laplace prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..distributions.scale import positive_scale


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
        if dim < 1:
            raise ValueError(f"Expected dim >= 1; got {dim}.")
        self.raw_scale = nn.Parameter(torch.zeros(dim))
        self.loc: Tensor
        self.register_buffer("loc", torch.zeros(dim), persistent=False)

    def forward(self) -> dist.Distribution:
        return dist.Laplace(self.loc, positive_scale(self.raw_scale)).to_event(1)

    def extra_repr(self) -> str:
        return f"dim={len(self.loc)}"
