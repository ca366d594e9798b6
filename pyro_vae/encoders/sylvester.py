"""Sylvester flow encoder."""

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


class SylvesterFlow(nn.Module):
    """q(z|x): a Gaussian through T layers of M units amortized over data points; planar flow's stronger successor.

    z_t = z_{t-1} + Q R tanh(P Q^T z_{t-1} + b),  z_0 ~ Normal(m, diag(s^2));  Q (D, M) orthonormal, R and P (M, M)
    upper triangular with R_ii P_ii > -1;  m, s and all Q, R, P, b from one network

    Q is the first M columns of a product of M reflections, which reaches all of them (the paper's Householder variant
    has M = D). The inverse is M scalar equations in turn, each solved to rounding: any z can be scored.

    Args:
        event_shape: shape of one x.
        latent_dim: number of latent dimensions D.
        network: makes the network from its input and output shape; the encoder says how many outputs it needs.
        num_transforms: T, number of layers; 0 is GaussianEncoder.
        num_units: M, units of each layer, from 1 to D; by default 8, or D where that is less.

    Raises:
        ValueError: latent_dim below 1, a negative num_transforms, or num_units that is not from 1 to latent_dim.

    Reference:
        van den Berg, Hasenclever, Tomczak, Welling 2018, "Sylvester normalizing flows for variational inference".

    Example:
        >>> qz = SylvesterFlow((1, 8, 8), 20, num_transforms=2)(torch.zeros(5, 1, 8, 8))
        >>> qz.log_prob(qz.rsample((7,))).shape
        torch.Size([7, 5])
    """

    def __init__(
        self,
        event_shape: Shape,
        latent_dim: int,
        network: MakeNetwork = MLP,
        num_transforms: int = 4,
        num_units: int | None = None,
    ) -> None:
        super().__init__()
        units = min(8, latent_dim) if num_units is None else num_units
        at_least(1, latent_dim=latent_dim)
        at_least(0, num_transforms=num_transforms)
        if not 1 <= units <= latent_dim:
            raise ValueError(f"Expected num_units from 1 to latent_dim, {latent_dim}; got {units}. Give fewer units.")
        self.latent_dim, self.num_transforms, self.num_units = latent_dim, num_transforms, units
        layer = [units * latent_dim, units * units, units, units]
        self.sizes = [latent_dim, latent_dim, *(num_transforms * layer)]
        self.network = network(event_shape, (sum(self.sizes),))

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, raw, *rest = self.network(x).split(self.sizes, -1)
        steps = [self._layer(*rest[4 * t : 4 * t + 4]) for t in range(self.num_transforms)]
        return Flow(dist.Normal(loc, positive_scale(raw)).to_event(1), steps)

    def _layer(self, normals: Tensor, square: Tensor, diagonal: Tensor, b: Tensor) -> Layer:
        # One square matrix holds the upper triangles of both R and P, but for the diagonal of P.
        square = square.unflatten(-1, (self.num_units, self.num_units))
        first = (1 - MARGIN) * square.diagonal(dim1=-2, dim2=-1).tanh()
        r = square.triu(1) + torch.diag_embed(first)
        p = square.mT.triu(1) + torch.diag_embed(diagonal.tanh())
        return Layer(frame(normals.unflatten(-1, (self.num_units, self.latent_dim))), r, p, b)

    def extra_repr(self) -> str:
        return f"num_transforms={self.num_transforms}, num_units={self.num_units}"


def frame(normals: Tensor) -> Tensor:
    """Orthonormal columns (..., D, M): the first M of the product of reflections along normals (..., M, D)."""
    count, dim = normals.shape[-2:]
    q = torch.eye(dim, count, dtype=normals.dtype, device=normals.device)
    for v in functional.normalize(normals, dim=-1).flip(-2).unbind(-2):
        q = q - 2 * v[..., :, None] * (v[..., None, :] @ q)
    return q


@dataclass(frozen=True)
class Layer:
    """y = x + q r tanh(p q^T x + b), with q (..., D, M) orthonormal, r and p (..., M, M) upper triangular."""

    q: Tensor
    r: Tensor
    p: Tensor
    b: Tensor  # (..., M)
    linear: ClassVar[bool] = False

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self._at(x, times(self.q.mT, x))

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        # In the frame, v = q^T x solves v + r tanh(p v + b) = q^T y: from the last of its M equations upwards, each has
        # one unknown, since r and p are triangular.
        target = times(self.q.mT, y)
        v, h = torch.zeros_like(target), torch.zeros_like(target)
        for i in reversed(range(self.b.shape[-1])):
            above_p, above_r = (times(m[..., i : i + 1, :], u)[..., 0] for m, u in ((self.p, v), (self.r, h)))
            slope, bias = self.p[..., i, i], self.b[..., i] + above_p
            root = solve(target[..., i] - above_r, self.r[..., i, i], slope, bias)
            here = torch.arange(self.b.shape[-1], device=y.device) == i
            v = torch.where(here, root[..., None], v)
            h = torch.where(here, torch.tanh(slope * root + bias)[..., None], h)
        x = y - times(self.q, times(self.r, h))
        return x, self._at(x, v)[1]

    def _at(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        h = torch.tanh(times(self.p, v) + self.b)
        slopes = self.r.diagonal(dim1=-2, dim2=-1) * self.p.diagonal(dim1=-2, dim2=-1) * (1 - h.square())
        return x + times(self.q, times(self.r, h)), torch.log1p(slopes).sum(-1)


def times(matrix: Tensor, vector: Tensor) -> Tensor:
    """Matrix (..., N, M) times vector (..., M)."""
    return (matrix @ vector[..., None]).squeeze(-1)
