"""Strided convolutional encoder and its mirror image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import nn

from .network import Network, Shape, halvings, image_shape


class ConvEncoder(Network):
    """Convolutions of stride two, then one linear layer: images of any height, width and channel count.

    Args:
        in_shape: shape of one image, (channels, height, width).
        out_shape: shape of one output.
        channels: channels after each stride of two.

    Raises:
        ValueError: not an image, or a side below ``2 ** len(channels)`` pixels.

    Example:
        >>> import torch
        >>> ConvEncoder((3, 28, 20), (2, 8))(torch.zeros(5, 3, 28, 20)).shape
        torch.Size([5, 2, 8])
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, channels: Sequence[int] = (32, 64)) -> None:
        super().__init__(in_shape, out_shape)
        first, height, width = image_shape(self.in_shape, "in_shape")
        top, left = halvings(height, len(channels))[-1], halvings(width, len(channels))[-1]
        widths = [first, *channels]
        layers: list[nn.Module] = []
        if len(self.in_shape) != 3:
            layers = [nn.Flatten(), nn.Unflatten(1, (first, height, width))]
        for before, after in itertools.pairwise(widths):
            layers += [nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1), nn.ReLU()]
        head = nn.Linear(widths[-1] * top * left, math.prod(self.out_shape))
        self.layers = nn.Sequential(*layers, nn.Flatten(), head)


class ConvDecoder(Network):
    """One linear layer, then transposed convolutions of stride two up to the image: `ConvEncoder` backwards.

    Args:
        in_shape: shape of one input; an int for a vector.
        out_shape: shape of one output, (..., channels, height, width); leading sizes become channels.
        channels: channels before each stride of two, smallest image first.

    Raises:
        ValueError: not an image, or a side below ``2 ** len(channels)`` pixels.

    Example:
        >>> import torch
        >>> ConvDecoder(8, (2, 3, 28, 20))(torch.zeros(7, 5, 8)).shape
        torch.Size([7, 5, 2, 3, 28, 20])
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, channels: Sequence[int] = (64, 32)) -> None:
        super().__init__(in_shape, out_shape)
        last, height, width = image_shape(self.out_shape, "out_shape")
        # Sides of the maps, smallest first; an odd side needs no output padding to be reached.
        tall, wide = halvings(height, len(channels))[::-1], halvings(width, len(channels))[::-1]
        widths = [*channels, last]
        start = [widths[0], tall[0], wide[0]]
        layers: list[nn.Module] = [
            nn.Flatten(),
            nn.Linear(math.prod(self.in_shape), math.prod(start)),
            nn.Unflatten(1, start),
        ]
        for i, (before, after) in enumerate(itertools.pairwise(widths)):
            padding = (1 - tall[i + 1] % 2, 1 - wide[i + 1] % 2)
            layers += [nn.ReLU(), nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=padding)]
        self.layers = nn.Sequential(*layers)
