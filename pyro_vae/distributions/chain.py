"""The density of a chain of invertible steps, shared by the flows that bring their own mathematics."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from .density import Density


class Chain(nn.Module):
    """z = flip(s_n(... flip(s_1(e)))), e ~ Normal(0, I); the flips reverse the order of dimensions between steps.

    Unlike `TransformedDistribution`, it takes point and Jacobian from one pass through each step's network.

    Args:
        dim: number of dimensions D.
        steps: modules ``step(e)`` that map e (..., D) to z (..., D), with ``step.inverse(z)`` that gives e and
            log |det de/dz| (...).
    """

    def __init__(self, dim: int, steps: Iterable[nn.Module]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)
        self.loc = nn.Buffer(torch.zeros(dim), persistent=False)

    def forward(self) -> dist.Distribution:
        base = dist.Normal(self.loc, 1.0).to_event(1)
        steps: list[Any] = list(self.steps)

        def log_density(z: Tensor) -> Tensor:
            total = torch.zeros_like(z[..., 0])
            for step in reversed(steps):
                z, log_det = step.inverse(z.flip(-1))
                total = total + log_det
            return base.log_prob(z) + total

        def draw(shape: torch.Size) -> Tensor:
            z: Tensor = base.sample(shape)
            for step in steps:
                z = step(z).flip(-1)
            return z

        return Density(len(self.loc), log_density, draw)

    def extra_repr(self) -> str:
        return f"dim={len(self.loc)}, num_transforms={len(self.steps)}"
