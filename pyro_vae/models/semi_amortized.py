"""A VAE whose guide is refined for each data point."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
from torch import Tensor, nn

from ..pairs import refined
from .vae import VAE


class SemiAmortizedVAE(nn.Module):
    """A `VAE` whose guide is refined for each data point by a few steps: where the encoder falls short.

    In training the steps are taken too, and count as constants in the gradient; see `refined`.

    Args:
        prior: ``prior()`` is p(z), batch (), event (D,).
        encoder: ``encoder(x)`` is a Gaussian q(z|x), batch (B,), event (D,): where the steps start.
        decoder: ``decoder(z)`` are features h (..., B, *).
        likelihood: ``likelihood(h)`` is p(x|z), batch (..., B), event the shape of one x.
        num_steps: steps for each data point, each a forward and a backward pass.
        learning_rate: step size, in standard deviations of the encoder's Gaussian.

    Reference:
        Kim, Wiseman, Miller, Sontag, Rush 2018, "Semi-amortized variational autoencoders" (there the steps have
        gradients too).

    Example:
        >>> import torch
        >>> from pyro_vae import MLP, Bernoulli, GaussianEncoder, StandardNormal, log_marginal
        >>> px = Bernoulli((1, 8, 8))
        >>> vae = SemiAmortizedVAE(StandardNormal(20), GaussianEncoder((1, 8, 8), 20), MLP(20, px.feature_shape), px)
        >>> len(log_marginal(vae.model, vae.guide, torch.zeros(5, 1, 8, 8), num_samples=10))
        5
    """

    def __init__(
        self,
        prior: Callable[[], dist.Distribution],
        encoder: Callable[[Tensor], dist.Distribution],
        decoder: Callable[[Tensor], Tensor],
        likelihood: Callable[[Tensor], dist.Distribution],
        num_steps: int = 5,
        learning_rate: float = 0.3,
    ) -> None:
        super().__init__()
        self.vae = VAE(prior, encoder, decoder, likelihood)
        self.num_steps, self.learning_rate = num_steps, learning_rate
        self._refined()  # for its errors

    @property
    def likelihood(self) -> Callable[[Tensor], dist.Distribution]:
        """p(x|z) of the VAE."""
        return self.vae.likelihood

    def model(self, x: Tensor) -> Tensor:
        """p(x, z) for data points x (B, *event_shape); returns x, or a draw of it when unconditioned."""
        return self.vae.model(x)

    def guide(self, x: Tensor) -> None:
        """q(z|x), refined for data points x (B, *event_shape)."""
        self._refined()(x)

    def _refined(self) -> Callable[[Tensor], None]:
        return refined(self.vae.model, self.vae.guide, num_steps=self.num_steps, learning_rate=self.learning_rate)

    def extra_repr(self) -> str:
        return f"num_steps={self.num_steps}, learning_rate={self.learning_rate:g}"
