"""Pairs of the autoencoder family, and the losses of those that have no likelihood."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from pyro_vae import MLP, VAE, FlatPrior, GaussianEncoder, PointEncoder, StandardNormal


def pair_of(
    encoder: type[nn.Module],
    prior: Callable[[int], nn.Module],
    likelihood: nn.Module,
    *,
    hidden: Sequence[int],
    latent_dim: int,
    activation: Callable[[], nn.Module] = nn.ReLU,
) -> VAE:
    """A pair of mirrored MLPs; ``hidden`` and ``activation`` are the encoder's, the decoder has plain ReLUs."""
    torch.manual_seed(0)
    shape = likelihood.event_shape
    network = functools.partial(MLP, hidden=hidden, activation=activation)
    decoder = MLP(latent_dim, likelihood.feature_shape, hidden=hidden[::-1])
    return VAE(prior(latent_dim), encoder(shape, latent_dim, network=network), decoder, likelihood)


autoencoder = functools.partial(pair_of, PointEncoder, FlatPrior)
vae = functools.partial(pair_of, GaussianEncoder, StandardNormal)


class GreyBernoulli(dist.Bernoulli):
    """Takes grey values, whose log_prob is then minus their cross-entropy."""

    support = constraints.unit_interval


class ReconstructionLoss(nn.Module):
    """A loss in the place of a likelihood, for pairs that have no p(x) anyway: minus log p(x|z) is the loss.

    Args:
        name: of the loss.
        distribution: made from the decoder's output; its mean, in [0, 1], is the reconstruction.
        event_shape: shape of one image.
    """

    def __init__(
        self, name: str, distribution: Callable[[Tensor], dist.Distribution], event_shape: Sequence[int]
    ) -> None:
        super().__init__()
        self.name, self.distribution = name, distribution
        self.event_shape = self.feature_shape = tuple(event_shape)

    def forward(self, features: Tensor) -> dist.Distribution:
        return self.distribution(features).to_event(len(self.event_shape))

    def extra_repr(self) -> str:
        return self.name


# The cross-entropy of grey pixels is no likelihood: its exponential does not integrate to 1. For the squared error it
# does, up to a constant; the sigmoid is that of the cross-entropy's mean, without it black pixels come out as noise.
CrossEntropy = functools.partial(ReconstructionLoss, "cross-entropy", lambda h: GreyBernoulli(logits=h))
SquaredError = functools.partial(
    ReconstructionLoss, "squared error", lambda h: dist.Normal(h.sigmoid(), math.sqrt(0.5))
)
