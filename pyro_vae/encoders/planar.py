"""Planar flow encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..arguments.at_least import at_least
from ..distributions.flow import Flow
from ..distributions.monotone import MARGIN, solve
from ..distributions.scale import positive_scale
from ..networks import MLP, MakeNetwork, Shape


class PlanarFlow(nn.Module):
    """q(z|x): a Gaussian bent along T planes of their own for each data point; few parameters, mildly non-Gaussian.

    z_t = z_{t-1} + u tanh(w . z_{t-1} + b),  z_0 ~ Normal(m, diag(s^2));  m, s and all u, w, b from one network

    w . u is kept above -1, so that each step is a bijection. Its inverse is the root of one scalar equation, found to
    rounding: any z can be scored.

    Args:
        event_shape: shape of one x.
        latent_dim: number of latent dimensions D.
        network: makes the network from its input and output shape; the encoder says how many outputs it needs.
        num_transforms: T, number of planes; 0 is GaussianEncoder.

    Raises:
        ValueError: latent_dim below 1, or a negative num_transforms.

    Reference:
        Rezende, Mohamed 2015, "Variational inference with normalizing flows".

    Example:
        >>> qz = PlanarFlow((1, 8, 8), 20)(torch.zeros(5, 1, 8, 8))
        >>> qz.log_prob(qz.rsample((7,))).shape
        torch.Size([7, 5])
    """

    def __init__(
        self, event_shape: Shape, latent_dim: int, network: MakeNetwork = MLP, num_transforms: int = 8
    ) -> None:
        super().__init__()
        at_least(1, latent_dim=latent_dim)
        at_least(0, num_transforms=num_transforms)
        self.num_transforms = num_transforms
        self.sizes = [latent_dim, latent_dim] + num_transforms * [latent_dim, latent_dim, 1]
        self.network = network(event_shape, (sum(self.sizes),))

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, raw, *rest = self.network(x).split(self.sizes, -1)
        planes = [Plane.of(*rest[3 * t : 3 * t + 3]) for t in range(self.num_transforms)]
        return Flow(dist.Normal(loc, positive_scale(raw)).to_event(1), planes)

    def extra_repr(self) -> str:
        return f"num_transforms={self.num_transforms}"


@dataclass(frozen=True)
class Plane:
    """y = x + u tanh(w . x + b), with u, w (..., D), b (..., 1) and w . u > -1."""

    u: Tensor
    w: Tensor
    b: Tensor
    linear: ClassVar[bool] = False

    @staticmethod
    def of(free: Tensor, w: Tensor, b: Tensor) -> Plane:
        """The step whose u is free but for its part along w, which is moved to where w . u > -1; zero stays zero."""
        along = (free * w).sum(-1, keepdim=True)
        zero_at_zero = functional.softplus(along + 0.541325) - 1  # softplus(0.541325) = 1
        allowed = (1 - MARGIN) * zero_at_zero
        return Plane(free + (allowed - along) * w / w.square().sum(-1, keepdim=True).clamp(min=1e-12), w, b)

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._at(x, (self.w * x).sum(-1, keepdim=True))

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        # Along w the step is a scalar bijection; what it added elsewhere follows from it.
        along = solve((self.w * y).sum(-1, keepdim=True), self._slope, torch.ones_like(self.b), self.b)
        x = y - self.u * torch.tanh(along + self.b)
        return x, self._at(x, along)[1]

    @property
    def _slope(self) -> Tensor:
        return (self.w * self.u).sum(-1, keepdim=True)

    def _at(self, x: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(along + self.b)
        return x + self.u * h, torch.log1p(self._slope * (1 - h.square())).squeeze(-1)
