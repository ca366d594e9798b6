"""Encoder of binary latents."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..arguments.at_least import at_least
from ..distributions.one_hot import bernoulli
from ..networks import MLP, MakeNetwork, Shape


class BernoulliEncoder(nn.Module):
    """q(z|x) of independent binary variables: for a `BernoulliPrior`.

    In training mode a binary Concrete relaxation, in evaluation mode 0 or 1; see `BernoulliPrior` for the bound that is
    trained.

    Args:
        event_shape: shape of one x.
        latent_dim: number of latent dimensions D, one binary variable each.
        temperature: of the relaxation; None draws 0 and 1 in training too.
        network: makes the network from its input and output shape.

    Raises:
        ValueError: latent_dim below 1, or a temperature of 0 or below.

    Reference:
        Maddison, Mnih, Teh 2017, "The Concrete distribution".

    Example:
        >>> BernoulliEncoder((1, 8, 8), 20).eval()(torch.zeros(7, 1, 8, 8)).event_shape
        torch.Size([20])
    """

    def __init__(
        self, event_shape: Shape, latent_dim: int, temperature: float | None = 0.67, network: MakeNetwork = MLP
    ) -> None:
        super().__init__()
        at_least(1, latent_dim=latent_dim)
        bernoulli(torch.zeros(latent_dim), temperature)  # for its errors
        self.network = network(event_shape, (latent_dim,))
        self.temperature = temperature

    def forward(self, x: Tensor) -> dist.Distribution:
        return bernoulli(self.network(x), self.temperature if self.training else None)  # logits (..., B, D)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"
