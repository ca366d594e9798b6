"""Householder flow encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
from torch import Tensor, nn
from torch.nn import functional

from ..arguments.at_least import at_least
from ..distributions.flow import Flow
from ..distributions.scale import positive_scale
from ..networks import MLP, MakeNetwork, Shape


class HouseholderFlow(nn.Module):
    """q(z|x): a diagonal Gaussian rotated by T reflections; correlations at less cost than a full covariance.

    z = H_T ... H_1 z_0,  H_t = I - 2 v_t v_t^T / |v_t|^2,  z_0 ~ Normal(m, diag(s^2));  m, s and all v_t from one
    network (in the paper each v_t comes from the one before)

    Args:
        event_shape: shape of one x.
        latent_dim: number of latent dimensions D, at least 2.
        network: makes the network from its input and output shape; the encoder says how many outputs it needs.
        num_transforms: T, number of reflections; 0 is GaussianEncoder, D reach every rotation.

    Raises:
        ValueError: latent_dim below 2 (nothing to rotate), or a negative num_transforms.

    Reference:
        Tomczak, Welling 2016, "Improving variational auto-encoders using Householder flow".

    Example:
        >>> import torch
        >>> HouseholderFlow((1, 8, 8), 20, num_transforms=4)(torch.zeros(5, 1, 8, 8)).mean.shape
        torch.Size([5, 20])
    """

    def __init__(
        self, event_shape: Shape, latent_dim: int, network: MakeNetwork = MLP, num_transforms: int = 4
    ) -> None:
        super().__init__()
        if latent_dim < 2:
            raise ValueError(f"Expected latent_dim >= 2 to rotate; got {latent_dim}. Use GaussianEncoder instead.")
        at_least(0, num_transforms=num_transforms)
        self.num_transforms = num_transforms
        self.network = network(event_shape, (2 + num_transforms, latent_dim))

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, raw, *normals = self.network(x).unbind(-2)
        return Flow(dist.Normal(loc, positive_scale(raw)).to_event(1), [Reflection.along(v) for v in normals])

    def extra_repr(self) -> str:
        return f"num_transforms={self.num_transforms}"


@dataclass(frozen=True)
class Reflection:
    """y = x - 2 v (v . x), with v (..., D) of length 1: its own inverse."""

    v: Tensor
    linear: ClassVar[bool] = True

    @staticmethod
    def along(v: Tensor) -> Reflection:
        """The reflection along v of any length."""
        return Reflection(functional.normalize(v, dim=-1))

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        along = (self.v * x).sum(-1, keepdim=True)
        return x - 2 * along * self.v, along.new_zeros(())

    inverse = __call__
