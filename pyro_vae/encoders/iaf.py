"""Inverse autoregressive flow encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pyro.distributions as dist
import torch
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn

from ..arguments.at_least import at_least
from ..distributions.flow import Flow
from ..distributions.scale import positive_scale
from ..networks import MLP, MakeNetwork, Shape


class IAF(nn.Module):
    """q(z|x) by inverse autoregressive flow: the most flexible to sample from in one pass, at any latent size.

    z_t = g_t * z_{t-1} + (1 - g_t) * m_t,  z_0 ~ Normal(m, diag(s^2));  gates g_t and shifts m_t of each dimension are
    functions of the dimensions before it and of features of x, by a masked network; the order turns with each step

    Draws and their densities take one pass through T masked networks. The density of any other z is exact too, by
    D passes through each.

    Args:
        event_shape: shape of one x.
        latent_dim: number of latent dimensions D, at least 2.
        network: makes the network from its input and output shape; the encoder says how many outputs it needs.
        num_transforms: T, number of masked networks; 0 is GaussianEncoder.
        hidden: widths of the hidden layers of each masked network, at least D.
        num_features: features of x that go into every masked network.

    Raises:
        ValueError: latent_dim below 2 (no dimension before another), a negative num_transforms, a hidden width below
            latent_dim, no hidden layer, or num_features below 1.

    Reference:
        Kingma, Salimans, Jozefowicz, Chen, Sutskever, Welling 2016, "Improving variational inference with inverse
        autoregressive flow"; masks: Germain, Gregor, Murray, Larochelle 2015, "MADE".

    Example:
        >>> encoder = IAF((1, 8, 8), 20, num_transforms=4)
        >>> encoder(torch.zeros(5, 1, 8, 8)).rsample((7,)).shape
        torch.Size([7, 5, 20])
    """

    def __init__(
        self,
        event_shape: Shape,
        latent_dim: int,
        network: MakeNetwork = MLP,
        num_transforms: int = 2,
        hidden: Sequence[int] = (300,),
        num_features: int = 32,
    ) -> None:
        super().__init__()
        if latent_dim < 2:
            raise ValueError(
                f"Expected latent_dim >= 2, since each dimension is moved by those before it; got {latent_dim}. Use "
                f"GaussianEncoder or MixtureEncoder instead."
            )
        at_least(0, num_transforms=num_transforms)
        at_least(1, num_features=num_features)
        if not hidden or min(hidden) < latent_dim:
            raise ValueError(f"Expected hidden widths of at least latent_dim, {latent_dim}; got {list(hidden)}.")
        order, sizes = torch.arange(latent_dim), (latent_dim, num_features, list(hidden))
        orders = [order.flip(0) if t % 2 else order for t in range(num_transforms)]
        self.masked = nn.ModuleList(ConditionalAutoRegressiveNN(*sizes, permutation=order) for order in orders)
        self.sizes = [latent_dim, latent_dim] + ([num_features] if num_transforms else [])
        self.network = network(event_shape, (sum(self.sizes),))

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, raw, *features = self.network(x).split(self.sizes, -1)
        order = range(loc.shape[-1])
        steps = [Gates(masked, order[::-1] if t % 2 else order, *features) for t, masked in enumerate(self.masked)]
        return Flow(dist.Normal(loc, positive_scale(raw)).to_event(1), steps)

    def extra_repr(self) -> str:
        return f"num_transforms={len(self.masked)}"


@dataclass(frozen=True)
class Gates:
    """y = g * x + (1 - g) * m, where g_d and m_d depend on features (..., F) and on the x before d in the order."""

    masked: ConditionalAutoRegressiveNN
    order: range
    features: Tensor
    linear: ClassVar[bool] = False

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        gate, shift = self._gate_and_shift(x)
        return gate * x + shift, gate.log().sum(-1)

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        leading = torch.broadcast_shapes(y.shape[:-1], self.features.shape[:-1])
        x = [y.new_zeros(leading)] * len(self.order)
        for d in self.order:  # what is not known yet stands as 0, and is masked
            gate, shift = self._gate_and_shift(torch.stack(x, -1))
            x[d] = (y[..., d] - shift[..., d]) / gate[..., d]
        return torch.stack(x, -1), gate.log().sum(-1)  # of the last pass: no gate depends on the last dimension

    def _gate_and_shift(self, x: Tensor) -> tuple[Tensor, Tensor]:
        leading = torch.broadcast_shapes(x.shape[:-1], self.features.shape[:-1])
        shift, raw = self.masked(x.expand(*leading, -1), self.features.expand(*leading, -1))
        # Starts near 0.9, almost the identity; the floor keeps the inverse within floating point.
        gate = 1e-3 + (1 - 1e-3) * torch.sigmoid(raw + 2)
        return gate, (1 - gate) * shift
