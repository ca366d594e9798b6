"""The variational autoencoder."""

from __future__ import annotations

from collections.abc import Callable

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor, nn


class VAE(nn.Module):
    """One layer of latents, z ~ p(z), x ~ p(x|z), with guide q(z|x): the model to start with.

    Args:
        prior: ``prior()`` is p(z), batch (), event (D,).
        encoder: ``encoder(x)`` is q(z|x), batch (B,), event (D,).
        decoder: ``decoder(z)`` are features h (..., B, *).
        likelihood: ``likelihood(h)`` is p(x|z), batch (..., B), event the shape of one x.

    Whole numbers, such as counts, become floating-point numbers of the parameters' type, as networks want them.

    Reference:
        Kingma, Welling 2014, "Auto-encoding variational Bayes"; Rezende, Mohamed, Wierstra 2014, "Stochastic
        backpropagation and approximate inference in deep generative models".

    Example:
        >>> import torch
        >>> from pyro_vae import MLP, Bernoulli, GaussianEncoder, StandardNormal, VAE
        >>> px = Bernoulli((1, 8, 8))
        >>> vae = VAE(StandardNormal(20), GaussianEncoder((1, 8, 8), 20), MLP(20, px.feature_shape), px)
        >>> pyro.poutine.uncondition(vae.model)(torch.zeros(5, 1, 8, 8)).shape  # five draws from p(x)
        torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        prior: Callable[[], dist.Distribution],
        encoder: Callable[[Tensor], dist.Distribution],
        decoder: Callable[[Tensor], Tensor],
        likelihood: Callable[[Tensor], dist.Distribution],
    ) -> None:
        super().__init__()
        self.prior, self.encoder, self.decoder, self.likelihood = prior, encoder, decoder, likelihood

    def model(self, x: Tensor) -> Tensor:
        """p(x, z) for data points x (B, *event_shape); returns x, or a draw of it when unconditioned."""
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", self.prior())  # (B, D)
            return pyro.sample("x", self.likelihood(self.decoder(z)), obs=self._floating(x))

    def guide(self, x: Tensor) -> None:
        """q(z|x) for data points x (B, *event_shape)."""
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", self.encoder(self._floating(x)))  # (B, D)

    def _floating(self, x: Tensor) -> Tensor:
        if x.is_floating_point():
            return x
        return x.to(next((p.dtype for p in self.parameters() if p.is_floating_point()), torch.get_default_dtype()))
