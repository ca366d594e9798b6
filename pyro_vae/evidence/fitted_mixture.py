"""Mixtures of fitted Gaussians, one for each data point."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .gaussian_fit import Gaussians


@dataclass(frozen=True)
class Mixture:
    """Mixtures of Gaussians, one for each data point, beside the guide and the prior."""

    parts: tuple[Gaussians, ...]
    shares: Tensor  # of the parts, (M, B), 1 in all

    def __getitem__(self, points: Any) -> Mixture:
        return Mixture(tuple(part[points] for part in self.parts), self.shares[:, points])

    def at(self, noise: Tensor, uniform: Tensor) -> Tensor:
        """Draws (K, B, D) that belong to standard normal noise (K, B, D) and uniform numbers (K, B)."""
        numbers = (uniform > self.shares.cumsum(0)[:, None]).sum(0).clamp(max=len(self.parts) - 1)
        u = self.parts[0].at(noise) if self.parts else noise
        for number, part in enumerate(self.parts[1:], 1):
            u = torch.where((numbers == number)[..., None], part.at(noise), u)
        return u

    def log_prob(self, u: Tensor) -> Tensor:
        """Log densities (K, B) at u (K, B, D)."""
        if not self.parts:
            return torch.full_like(u[..., 0], -math.inf)
        log_shares = self.shares.log()[:, None]
        return torch.logsumexp(torch.stack([part.log_prob(u) for part in self.parts]) + log_shares, 0)


def farthest(u: Tensor, log_weights: Tensor, mixture: Mixture) -> Gaussians:
    """Gaussians like the first part, around that of three draws of large weight that lies farthest from all parts."""
    heaviest = log_weights.topk(min(3, len(log_weights)), 0).indices  # (3, B)
    heavy = u.gather(0, heaviest[..., None].expand(-1, -1, u.shape[-1]))
    distances = [torch.einsum("bij,kbj->kbi", part.inverse, heavy - part.mean).norm(dim=-1) for part in mixture.parts]
    farthest = torch.stack(distances).amin(0).argmax(0)  # (B,)
    return around(heavy, farthest, mixture)


def around(u: Tensor, number: Tensor, mixture: Mixture) -> Gaussians:
    """Gaussians like the first part, around the draws of these numbers (B,) of u (K, B, D)."""
    mean = u.gather(0, number[None, :, None].expand(1, -1, u.shape[-1]))[0]
    return Gaussians(mean, mixture.parts[0].root, mixture.parts[0].inverse)
