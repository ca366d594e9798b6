"""Logistic-normal encoder."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn

from ..arguments.at_least import at_least
from ..distributions.log_ratio import AdditiveLogRatio
from ..distributions.scale import positive_scale
from ..networks import MLP, MakeNetwork, Shape


class LogisticNormalEncoder(nn.Module):
    """q(z|x) of softmax(y, 0), y a diagonal Gaussian: Gaussian gradients on the simplex; for any prior there.

    y_d = log(z_d / z_D) ~ Normal(m_d(x), s_d(x)^2): softmax with its last logit fixed at 0, which is one to one.

    Args:
        event_shape: shape of one x.
        latent_dim: number of latent dimensions D, the parts of the simplex, at least 2.
        network: makes the network from its input and output shape; the encoder says how many outputs it needs.

    Raises:
        ValueError: latent_dim below 2.

    Reference:
        Srivastava, Sutton 2017, "Autoencoding variational inference for topic models".

    Example:
        >>> import torch
        >>> qz = LogisticNormalEncoder((1, 8, 8), 20)(torch.zeros(5, 1, 8, 8))
        >>> qz.batch_shape, qz.event_shape, qz.support
        (torch.Size([5]), torch.Size([20]), Simplex())
    """

    def __init__(self, event_shape: Shape, latent_dim: int, network: MakeNetwork = MLP) -> None:
        super().__init__()
        at_least(2, latent_dim=latent_dim)  # parts of a simplex
        self.network = network(event_shape, (2, latent_dim - 1))

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, raw = self.network(x).unbind(-2)  # each (..., B, D - 1)
        normal = dist.Normal(loc, positive_scale(raw)).to_event(1)
        return dist.TransformedDistribution(normal, [AdditiveLogRatio()])
