"""Deterministic encoder."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn

from ..networks import MLP, MakeNetwork, Shape


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
        >>> x = torch.rand(5, 1, 8, 8)
        >>> code = PointEncoder((1, 8, 8), 20)(x)
        >>> code.sample().shape, code.variance.max()
        (torch.Size([5, 20]), tensor(0.))
    """

    def __init__(self, event_shape: Shape, latent_dim: int, network: MakeNetwork = MLP) -> None:
        super().__init__()
        self.network = network(event_shape, (latent_dim,))

    def forward(self, x: Tensor) -> dist.Distribution:
        return dist.Delta(self.network(x), event_dim=1)  # (..., B, D)
