"""Normal prior with learned mean and scales."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import nn

from ..arguments.at_least import at_least
from ..distributions.scale import unit_scale


class DiagonalNormal(nn.Module):
    """A normal with learned mean and scales: for decoders that cannot rescale their latents, such as a fixed one.

    p(z) = Normal(z; m, diag(s^2))

    Starts as the standard normal. Under a decoder whose first layer is linear it is the same model as the standard
    normal, in other coordinates.

    Args:
        dim: number of latent dimensions.

    Raises:
        ValueError: dim below 1.

    Example:
        >>> DiagonalNormal(20)().event_shape
        torch.Size([20])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        at_least(1, dim=dim)
        self.loc = nn.Parameter(torch.zeros(dim))
        self.raw_scale = nn.Parameter(torch.zeros(dim))

    def forward(self) -> dist.Distribution:
        return dist.Normal(self.loc, unit_scale(self.raw_scale)).to_event(1)

    def extra_repr(self) -> str:
        return f"dim={len(self.loc)}"
