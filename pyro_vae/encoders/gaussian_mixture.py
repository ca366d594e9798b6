"""Mixture encoder."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn

from ..arguments.at_least import at_least
from ..distributions.implicit_mixture import ImplicitMixture
from ..distributions.scale import positive_scale
from ..networks import MLP, MakeNetwork, Shape


class MixtureEncoder(nn.Module):
    """q(z|x) = sum_c w_c(x) Normal(m_c(x), diag(s_c(x)^2)): for posteriors with several modes.

    Draws have unbiased gradients in the weights too, by implicit reparameterization, so that it trains like a Gaussian.
    Where modes lie more than some eight scales apart, rare ones are large: then train with ``clip_norm``.

    Args:
        event_shape: shape of one x.
        latent_dim: number of latent dimensions D.
        network: makes the network from its input and output shape; the encoder says how many outputs it needs.
        num_components: C, number of Gaussians; 1 is GaussianEncoder.

    Raises:
        ValueError: latent_dim or num_components below 1.

    Reference:
        Morningstar, Vikram, Ham, Gallagher, Dillon 2021, "Automatic differentiation variational inference with
        mixtures"; gradients: Figurnov, Mohamed, Mnih 2018, "Implicit reparameterization gradients".

    Example:
        >>> import torch
        >>> MixtureEncoder((1, 8, 8), 20, num_components=3)(torch.zeros(5, 1, 8, 8)).mean.shape
        torch.Size([5, 20])
    """

    def __init__(
        self, event_shape: Shape, latent_dim: int, network: MakeNetwork = MLP, num_components: int = 4
    ) -> None:
        super().__init__()
        at_least(1, latent_dim=latent_dim, num_components=num_components)
        self.num_components = num_components
        self.network = network(event_shape, (num_components, 1 + 2 * latent_dim))

    def forward(self, x: Tensor) -> dist.Distribution:
        h = self.network(x)  # (..., B, C, 1 + 2 D)
        logits, (loc, raw) = h[..., 0], h[..., 1:].chunk(2, -1)
        return ImplicitMixture(dist.Categorical(logits=logits), dist.Normal(loc, positive_scale(raw)).to_event(1))

    def extra_repr(self) -> str:
        return f"num_components={self.num_components}"
