"""Gaussian mixture prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import nn
from torch.nn import functional

from .mixture import mixture


class GaussianMixture(nn.Module):
    """p(z) = sum_c w_c Normal(z; m_c, diag(s_c^2)), all of it learned: several clusters of latents.

    Starts as a slightly spread-out standard normal: equal weights, means drawn from Normal(0, 0.5^2), scales 1.

    Args:
        dim: number of latent dimensions.
        num_components: number of Gaussians.

    Reference:
        Dilokthanakul and others 2016, "Deep unsupervised clustering with Gaussian mixture VAEs".

    Example:
        >>> GaussianMixture(20, num_components=10)().event_shape
        torch.Size([20])
    """

    def __init__(self, dim: int, num_components: int = 10) -> None:
        super().__init__()
        if dim < 1 or num_components < 1:
            raise ValueError(f"Expected dim >= 1 and num_components >= 1; got {dim} and {num_components}.")
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.loc = nn.Parameter(0.5 * torch.randn(num_components, dim))
        self.raw_scale = nn.Parameter(torch.full((num_components, dim), 0.5413))  # softplus of it is 1

    def forward(self) -> dist.Distribution:
        components = dist.Normal(self.loc, 1e-3 + functional.softplus(self.raw_scale)).to_event(1)
        return mixture(self.logits, components)

    def extra_repr(self) -> str:
        components, dim = self.loc.shape
        return f"dim={dim}, num_components={components}"
