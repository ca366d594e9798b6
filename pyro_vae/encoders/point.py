"""Deterministic encoder."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
from torch import Tensor, nn

from ..networks import MLP, Shape


class PointEncoder(nn.Module):
    """q(z|x) = Delta(z - f(x)), a code without noise: for autoencoders, plain, denoising or adversarial.

    With `FlatPrior` the pair has no rate: `Trace_ELBO` is exactly the reconstruction loss. A point is no density that
    importance sampling could weigh, so `log_marginal` refuses such a pair.

    Args:
        event_shape: shape of one x.
        latent_dim: length D of the code.
        network: makes the network from its input and output shape.

    Raises:
        ValueError: latent_dim below 1.

    Reference:
        Hinton, Salakhutdinov 2006, "Reducing the dimensionality of data with neural networks".

    Example:
        >>> import torch
        >>> qz = PointEncoder((1, 8, 8), 20)(torch.zeros(5, 1, 8, 8))
        >>> qz.batch_shape, qz.event_shape
        (torch.Size([5]), torch.Size([20]))
    """

    def __init__(self, event_shape: Shape, latent_dim: int, network: Callable[[Shape, Shape], nn.Module] = MLP) -> None:
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"Expected latent_dim >= 1; got {latent_dim}.")
        self.network = network(event_shape, latent_dim)

    def forward(self, x: Tensor) -> dist.Distribution:
        return dist.Delta(self.network(x), event_dim=1)  # (..., B, D)
