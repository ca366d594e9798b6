"""Encoder of categorical latents."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..distributions.one_hot import one_hot, one_hot_shape
from ..networks import MLP, MakeNetwork, Shape


class CategoricalEncoder(nn.Module):
    """q(z|x) of independent one-hot variables: for a `CategoricalPrior` of as many categories.

    In training mode a Concrete (Gumbel-softmax) relaxation, in evaluation mode the one-hot vectors themselves; see
    `CategoricalPrior` for the bound that is trained. A low temperature is closer to the discrete model and has noisier
    gradients.

    Args:
        event_shape: shape of one x.
        latent_dim: number of latent dimensions D, variables times categories.
        num_categories: C, categories of each variable; by default one variable of D categories.
        temperature: of the relaxation; None draws one-hot vectors in training too.
        network: makes the network from its input and output shape; the encoder says how many outputs it needs.

    Raises:
        ValueError: latent_dim is not divisible by num_categories, or a temperature of 0 or below.

    Reference:
        Maddison, Mnih, Teh 2017, "The Concrete distribution"; Jang, Gu, Poole 2017, "Categorical reparameterization
        with Gumbel-softmax".

    Example:
        >>> encoder = CategoricalEncoder((1, 8, 8), 20, num_categories=5).eval()
        >>> encoder(torch.zeros(7, 1, 8, 8)).sample().unflatten(-1, (4, 5)).sum(-1)[0]
        tensor([1., 1., 1., 1.])
    """

    def __init__(
        self,
        event_shape: Shape,
        latent_dim: int,
        num_categories: int | None = None,
        temperature: float | None = 0.67,
        network: MakeNetwork = MLP,
    ) -> None:
        super().__init__()
        shape = one_hot_shape(latent_dim, num_categories)
        one_hot(torch.zeros(shape), temperature)  # for its errors
        self.network = network(event_shape, shape)
        self.temperature = temperature

    def forward(self, x: Tensor) -> dist.Distribution:
        return one_hot(self.network(x), self.temperature if self.training else None)  # logits (..., B, V, C)

    def extra_repr(self) -> str:
        return f"temperature={self.temperature}"
