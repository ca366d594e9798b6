"""Gaussian mixture prior."""

from __future__ import annotations

from typing import Literal

import pyro.distributions as dist
import torch
from torch import nn

from ..arguments.at_least import at_least
from ..distributions.mixture import mixture
from ..distributions.scale import unit_scale

Covariance = Literal["diagonal", "low-rank", "full"]


class GaussianMixture(nn.Module):
    """A mixture of learned Gaussians: when data fall into kinds, and latents should fall into clusters.

    p(z) = sum_c w_c Normal(z; m_c, S_c),  S_c = diag(s_c^2), or F_c F_c' + diag(s_c^2), or L_c L_c'

    Starts as a slightly spread-out standard normal: equal weights, means drawn from Normal(0, 0.5^2), scales 1.

    Args:
        dim: number of latent dimensions D.
        num_components: number of Gaussians C.
        covariance: "diagonal", whose density is fast with hundreds of components; "low-rank", F_c of shape (D, rank);
            "full", L_c a triangle (D, D).
        rank: of the low-rank covariance.

    Raises:
        ValueError: a count below 1, or an unknown covariance.

    Reference:
        Dilokthanakul and others 2016, "Deep unsupervised clustering with Gaussian mixture VAEs".

    Example:
        >>> GaussianMixture(20, num_components=10)().event_shape
        torch.Size([20])
        >>> GaussianMixture(20, num_components=10, covariance="full")().log_prob(torch.zeros(7, 5, 20)).shape
        torch.Size([7, 5])
    """

    def __init__(self, dim: int, num_components: int = 10, covariance: Covariance = "diagonal", rank: int = 2) -> None:
        super().__init__()
        at_least(1, dim=dim, num_components=num_components)
        if covariance not in ("diagonal", "low-rank", "full"):
            raise ValueError(f"Expected covariance 'diagonal', 'low-rank' or 'full'; got {covariance!r}.")
        if covariance == "low-rank" and not 1 <= rank <= dim:
            raise ValueError(f"Expected rank from 1 to {dim}, the number of latent dimensions; got {rank}.")
        self.covariance = covariance
        self.logits = nn.Parameter(torch.zeros(num_components))
        self.loc = nn.Parameter(0.5 * torch.randn(num_components, dim))
        self.raw_scale = nn.Parameter(torch.zeros(num_components, dim))
        if covariance == "low-rank":  # at 0 there would be no gradient
            self.factor = nn.Parameter(0.1 * torch.randn(num_components, dim, rank))
        if covariance == "full":  # what stands below the diagonal
            self.lower = nn.Parameter(torch.zeros(num_components, dim * (dim - 1) // 2))

    def forward(self) -> dist.Distribution:
        scale = unit_scale(self.raw_scale)  # (C, D)
        components: dist.Distribution
        if self.covariance == "diagonal":
            components = dist.Normal(self.loc, scale).to_event(1)
        elif self.covariance == "low-rank":
            components = dist.LowRankMultivariateNormal(self.loc, self.factor, scale.square())
        else:
            row, column = torch.tril_indices(self.loc.shape[1], self.loc.shape[1], -1, device=self.loc.device)
            scale_tril = torch.diag_embed(scale)  # (C, D, D)
            scale_tril[:, row, column] = self.lower
            components = dist.MultivariateNormal(self.loc, scale_tril=scale_tril)
        return mixture(self.logits, components)

    def extra_repr(self) -> str:
        components, dim = self.loc.shape
        kind = "" if self.covariance == "diagonal" else f", covariance={self.covariance!r}"
        return f"dim={dim}, num_components={components}{kind}"
