"""Autoregressive likelihood: each pixel given z and the pixels before it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints
from torch.distributions.constraints import Constraint

from ..networks import Shape
from ..networks.pixel_cnn import GatedPixelCNN
from .bernoulli import Bernoulli
from .likelihood import Likelihood


class PixelCNNDistribution(TorchDistribution):
    """p(x|h) = prod_d p(x_d; features of x_1, ..., x_(d-1) and h): scored in one pass, drawn pixel by pixel.

    It has no ``mean`` in closed form, and does not claim one.
    """

    arg_constraints: Any = {}  # noqa: RUF012 (the features are free)

    def __init__(self, pixels: Likelihood, network: GatedPixelCNN, features: Tensor) -> None:
        self.pixels, self.network, self.features = pixels, network, features
        batch_shape = features.shape[: features.dim() - len(pixels.feature_shape)]
        super().__init__(batch_shape, torch.Size(pixels.event_shape))

    @constraints.dependent_property
    def support(self) -> Constraint:
        """The support of the likelihood of the pixels."""
        return self.pixels.support

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> PixelCNNDistribution:
        shape = (*batch_shape, *self.pixels.feature_shape)
        return PixelCNNDistribution(self.pixels, self.network, self.features.expand(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        leading = torch.broadcast_shapes(self.batch_shape, value.shape[: value.dim() - len(self.event_shape)])
        x = value.expand(*leading, *self.event_shape).reshape(*leading, 1, *self.event_shape)
        h = self.features.expand(*leading, *self.pixels.feature_shape)
        planes = h.reshape(*leading, self.network.out_shape[0], *self.event_shape)
        both = torch.cat([x, planes], -1 - len(self.event_shape))
        return self.pixels(self.network(both).reshape(h.shape)).log_prob(value)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws, value by value: about as much work in all as scoring once, in many small steps."""
        shape = self._extended_shape(torch.Size(sample_shape))
        leading = shape[: len(shape) - len(self.event_shape)]
        height, width = self.event_shape[-2:]
        values = torch.Size(self.pixels.feature_shape).numel() // (height * width)
        h = self.features.expand(*leading, *self.pixels.feature_shape)
        h = h.reshape(leading.numel(), values, height, width)
        known = h.clone()  # (N, F C, H, W)
        x = h.new_zeros(leading.numel(), self.network.layers.colours, height, width)
        for row, column, colour, features in self.network.layers.by_value(x, h):
            known[:, :, row, column] = features
            draw = self.pixels(known.reshape(len(x), *self.pixels.feature_shape)).sample()
            x[:, colour, row, column] = draw.reshape(x.shape)[:, colour, row, column]
        return x.reshape(shape)


class PixelCNN(Likelihood):
    """Each pixel given z and all pixels before it: for sharp images, where the latents need not hold the detail.

    p(x|z) = prod_d p(x_d; f_d(x_1, ..., x_(d-1), h))

    The features h of the decoder are those of ``pixels``, the likelihood of a single pixel; masked convolutions add to
    them what the pixels before tell, nothing at the start. Draws go pixel by pixel: seconds for a few images of
    28 x 28. Since p(x|z) is flexible without z, the latents may be left unused: look at the rate, and warm the KL term
    up. There is no closed mean: reconstructions show a draw.

    Args:
        event_shape: shape of one x, (..., height, width).
        pixels: makes the likelihood of the pixels from event_shape; its values must be independent given features.
        mean: mean of the training data, for a likelihood of the pixels that can start at it.
        channels: width of the masked convolutions.
        num_layers: masked gated layers; a pixel sees ``num_layers * (kernel_size // 2)`` pixels in each direction.
        kernel_size: side of the masked convolutions, odd.

    Reference:
        van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves, Kavukcuoglu 2016, "Conditional image generation with
        PixelCNN decoders"; Gulrajani, Kumar, Ahmed, Taiga, Visin, Vazquez, Courville 2017, "PixelVAE: a latent
        variable model for natural images".

    Example:
        >>> px = PixelCNN((1, 4, 4), channels=8)(torch.zeros(5, 1, 4, 4))
        >>> px.log_prob(px.sample()).shape
        torch.Size([5])
    """

    def __init__(
        self,
        event_shape: Shape,
        pixels: Callable[..., Likelihood] = Bernoulli,
        mean: Tensor | None = None,
        channels: int = 32,
        num_layers: int = 4,
        kernel_size: int = 5,
    ) -> None:
        start = {"mean": mean} if mean is not None and "mean" in inspect.signature(pixels).parameters else {}
        base = pixels(event_shape, **start)
        features_per_value = 1 if base.feature_shape == base.event_shape else base.feature_shape[0]
        super().__init__(event_shape, features_per_value)
        if base.feature_shape != self.feature_shape:
            raise ValueError(
                f"Expected the likelihood of the pixels to have features of shape (F, *{self.event_shape}); got "
                f"{base.feature_shape}. Use one with the same number of features for each value, such as Bernoulli."
            )
        self.pixels = base
        self.shown = f"channels={channels}, num_layers={num_layers}, kernel_size={kernel_size}"
        self.network = GatedPixelCNN(self.event_shape, features_per_value, channels, num_layers, kernel_size)

    def forward(self, features: Tensor) -> PixelCNNDistribution:
        return PixelCNNDistribution(self.pixels, self.network, features)

    def __repr__(self) -> str:
        return f"PixelCNN({self.event_shape}, pixels={self.pixels!r}, {self.shown})"
