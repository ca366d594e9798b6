"""Strided convolutional encoder and its mirror image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

from torch import nn

from .network import Network, Shape, halvings, image_shape, preserve_scale


def downsampling(image: tuple[int, int, int], channels: Sequence[int]) -> tuple[list[nn.Conv2d], int]:
    """Convolutions of stride two, one for each of channels, and how many values they leave of an image."""
    first, height, width = image
    left = halvings(height, len(channels))[-1] * halvings(width, len(channels))[-1]
    widths = [first, *channels]
    return [nn.Conv2d(a, b, kernel_size=3, stride=2, padding=1) for a, b in itertools.pairwise(widths)], (
        widths[-1] * left
    )


def upsampling(
    image: tuple[int, int, int], channels: Sequence[int]
) -> tuple[tuple[int, int, int], list[nn.ConvTranspose2d]]:
    """Shape of the smallest map, and transposed convolutions of stride two from it to an image."""
    last, height, width = image
    # Sides of the maps, smallest first; an odd side needs no output padding to be reached.
    tall, wide = halvings(height, len(channels))[::-1], halvings(width, len(channels))[::-1]
    widths = [*channels, last]
    paddings = [(1 - h % 2, 1 - w % 2) for h, w in zip(tall[1:], wide[1:], strict=True)]
    return (widths[0], tall[0], wide[0]), [
        nn.ConvTranspose2d(a, b, kernel_size=3, stride=2, padding=1, output_padding=padding)
        for (a, b), padding in zip(itertools.pairwise(widths), paddings, strict=True)
    ]


class ConvEncoder(Network):
    """Convolutions of stride two, then one linear layer: the first choice for images, quick on a CPU.

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
        self.channels = tuple(channels)
        image = image_shape(self.in_shape, "in_shape")
        convolutions, left = downsampling(image, channels)
        head = nn.Linear(left, math.prod(self.out_shape))
        preserve_scale([*convolutions, head], nn.ReLU())
        activated = [layer for convolution in convolutions for layer in (convolution, nn.ReLU())]
        self.layers = nn.Sequential(nn.Flatten(), nn.Unflatten(1, image), *activated, nn.Flatten(), head)

    def extra_repr(self) -> str:
        return f"channels={self.channels}"


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
        self.channels = tuple(channels)
        start, convolutions = upsampling(image_shape(self.out_shape, "out_shape"), channels)
        first = nn.Linear(math.prod(self.in_shape), math.prod(start))
        preserve_scale([first, *convolutions], nn.ReLU())
        activated = [layer for convolution in convolutions for layer in (nn.ReLU(), convolution)]
        self.layers = nn.Sequential(nn.Flatten(), first, nn.Unflatten(1, start), *activated)

    def extra_repr(self) -> str:
        return f"channels={self.channels}"
