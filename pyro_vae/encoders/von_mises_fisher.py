"""Von Mises-Fisher encoder."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.nn import functional

from ..distributions.von_mises_fisher import VonMisesFisher
from ..networks import MLP, MakeNetwork, Shape


class VonMisesFisherEncoder(nn.Module):
    """q(z|x) = vMF(m(x), k(x)) on the unit sphere: for a `UniformSphere` or any other prior there.

    The concentration is D times a softplus: |E[z]| depends on k / D, so that the network has the same task in any
    dimension. Many dimensions on one sphere learn slowly, since one k serves all of them.

    Args:
        event_shape: shape of one x.
        latent_dim: number of latent dimensions D, at least 2; the sphere has D - 1.
        network: makes the network from its input and output shape; the encoder says how many outputs it needs.

    Raises:
        ValueError: latent_dim below 2.

    Reference:
        Davidson, Falorsi, De Cao, Kipf, Tomczak 2018, "Hyperspherical variational auto-encoders".

    Example:
        >>> import torch
        >>> z = VonMisesFisherEncoder((1, 8, 8), 10)(torch.zeros(5, 1, 8, 8)).rsample()
        >>> torch.allclose(z.norm(dim=-1), torch.ones(5))
        True
    """

    def __init__(self, event_shape: Shape, latent_dim: int, network: MakeNetwork = MLP) -> None:
        super().__init__()
        if latent_dim < 2:
            raise ValueError(
                f"Expected latent_dim >= 2; got {latent_dim}. A sphere in one dimension is two points: use "
                f"BernoulliEncoder instead."
            )
        self.network = network(event_shape, (latent_dim + 1,))

    def forward(self, x: Tensor) -> dist.Distribution:
        h = self.network(x)  # (..., B, D + 1)
        direction, raw = h[..., :-1], h[..., -1]
        # Zero features have no direction; a network without biases yet gives them for x = 0. Any will do.
        pole = functional.pad(torch.ones_like(raw[..., None]), (0, direction.shape[-1] - 1))
        direction = torch.where(direction.norm(dim=-1, keepdim=True) > 1e-6, direction, pole)
        concentration = direction.shape[-1] * functional.softplus(raw)
        return VonMisesFisher(functional.normalize(direction, dim=-1), concentration)
