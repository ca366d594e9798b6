"""pythae's VAE around the networks of one of ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor, nn


def pythae_twin(
    network: nn.Module,
    log_variance: Callable[[Tensor], Tensor],
    decoder: nn.Module,
    *,
    event_shape: Sequence[int],
    latent_dim: int,
) -> Any:
    """A pythae VAE, to be called where pythae is installed.

    Args:
        network: of the encoder, from images to (B, 2, D), the second row what ``log_variance`` makes log variances of.
        log_variance: that function.
        decoder: from latents to the means of the pixels.
        event_shape: shape of one image.
        latent_dim: D.
    """
    from pythae.models import VAE as PythaeVAE
    from pythae.models import VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Any:
            loc, raw = self.network(x).unbind(-2)
            return ModelOutput(embedding=loc, log_covariance=log_variance(raw))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.network = decoder

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=self.network(z))

    config = VAEConfig(input_dim=tuple(event_shape), latent_dim=latent_dim, reconstruction_loss="bce")
    return PythaeVAE(config, encoder=Encoder(), decoder=Decoder())
