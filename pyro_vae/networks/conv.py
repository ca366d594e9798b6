"""Strided convolutional encoder and its mirror image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from torch import nn

from .network import Network, Shape, halvings, image_shape, preserve_scale

Blocks = Callable[[int], list[nn.Module]]  # layers between the strides, from their number of channels


def downsampling(
    in_shape: tuple[int, ...], out_size: int, channels: Sequence[int], blocks: Blocks = lambda _: []
) -> nn.Sequential:
    """Convolutions of stride two, one for each of channels, blocks after each, and one linear layer."""
    image = image_shape(in_shape, "in_shape")
    first, height, width = image
    left = halvings(height, len(channels))[-1] * halvings(width, len(channels))[-1]
    widths = [first, *channels]
    convolutions = [nn.Conv2d(a, b, kernel_size=3, stride=2, padding=1) for a, b in itertools.pairwise(widths)]
    head = nn.Linear(widths[-1] * left, out_size)
    preserve_scale([*convolutions, head], nn.ReLU())
    layers = [layer for c in convolutions for layer in (c, *blocks(c.out_channels), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), nn.Unflatten(1, image), *layers, nn.Flatten(), head)


def upsampling(
    in_size: int, out_shape: tuple[int, ...], channels: Sequence[int], blocks: Blocks = lambda _: []
) -> nn.Sequential:
    """One linear layer to the smallest map, then transposed convolutions of stride two, blocks before each."""
    last, height, width = image_shape(out_shape, "out_shape")
    # Sides of the maps, smallest first; an odd side needs no output padding to be reached.
    tall, wide = halvings(height, len(channels))[::-1], halvings(width, len(channels))[::-1]
    widths = [*channels, last]
    paddings = [(1 - h % 2, 1 - w % 2) for h, w in zip(tall[1:], wide[1:], strict=True)]
    convolutions = [
        nn.ConvTranspose2d(a, b, kernel_size=3, stride=2, padding=1, output_padding=padding)
        for (a, b), padding in zip(itertools.pairwise(widths), paddings, strict=True)
    ]
    start = widths[0], tall[0], wide[0]
    first = nn.Linear(in_size, math.prod(start))
    preserve_scale([first, *convolutions], nn.ReLU())
    layers = [layer for c in convolutions for layer in (*blocks(c.in_channels), nn.ReLU(), c)]
    return nn.Sequential(nn.Flatten(), first, nn.Unflatten(1, start), *layers)


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
        self.layers = downsampling(self.in_shape, math.prod(self.out_shape), channels)

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
        self.layers = upsampling(math.prod(self.in_shape), self.out_shape, channels)

    def extra_repr(self) -> str:
        return f"channels={self.channels}"
