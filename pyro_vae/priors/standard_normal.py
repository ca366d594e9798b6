"""Standard normal prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import nn

from ..arguments.at_least import at_least


class StandardNormal(nn.Module):
    """The standard normal, nothing to learn: to start with, and to compare all others with.

    p(z) = Normal(z; 0, I)

    Args:
        dim: number of latent dimensions.

    Raises:
        ValueError: dim below 1.

    Reference:
        Kingma, Welling 2014, "Auto-encoding variational Bayes".

    Example:
        >>> StandardNormal(20)().event_shape
        torch.Size([20])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        at_least(1, dim=dim)
        self.loc = nn.Buffer(torch.zeros(dim), persistent=False)  # a buffer: it follows .to(device)

    def forward(self) -> dist.Distribution:
        return dist.Normal(self.loc, 1.0).to_event(1)

    def extra_repr(self) -> str:
        return f"dim={len(self.loc)}"
