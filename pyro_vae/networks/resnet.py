"""Residual convolutional encoder and its mirror image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..arguments.at_least import at_least
from .conv import downsampling, upsampling
from .network import Network, Shape, image_shape, preserve_scale


class ResidualBlock(nn.Module):
    """x + s * conv(relu(conv(relu(x)))), s learned: each image by itself, so no batch normalization.

    Started at s = 1 / sqrt(number of blocks), blocks of unit scale together multiply the signal's variance by less
    than e at any depth.
    """

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        first, second = (nn.Conv2d(channels, channels, kernel_size=3, padding=1) for _ in range(2))
        for convolution in (first, second):
            preserve_scale([nn.Conv2d(1, 1, 1), convolution], nn.ReLU(), last=1.0)  # after a ReLU
        self.layers = nn.Sequential(nn.ReLU(), first, nn.ReLU(), second)
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.scale * self.layers(x)
        return out


def blocks(channels: int, count: int, total: int) -> list[nn.Module]:
    """``count`` residual blocks out of the ``total`` of a network.

    Raises:
        ValueError: count is negative.
    """
    at_least(0, num_blocks=count)
    return [ResidualBlock(channels, 1 / math.sqrt(total)) for _ in range(count)]


class ResNetEncoder(Network):
    """`ConvEncoder` with residual blocks after each stride: a deeper network for images, at several times the cost.

    Args:
        in_shape: shape of one image, (channels, height, width).
        out_shape: shape of one output.
        channels: channels after each stride of two.
        num_blocks: residual blocks at each size of the image.

    Raises:
        ValueError: not an image, a side below ``2 ** len(channels)`` pixels, or a negative num_blocks.

    Reference:
        He, Zhang, Ren, Sun 2016, "Identity mappings in deep residual networks"; De, Smith 2020, "Batch normalization
        biases residual blocks towards the identity function in deep networks" (a learned scale in its place).

    Example:
        >>> ResNetEncoder((3, 28, 20), (2, 8))(torch.zeros(5, 3, 28, 20)).shape
        torch.Size([5, 2, 8])
    """

    def __init__(
        self, in_shape: Shape, out_shape: Shape, channels: Sequence[int] = (32, 64), num_blocks: int = 1
    ) -> None:
        super().__init__(in_shape, out_shape)
        self.channels, self.num_blocks = tuple(channels), num_blocks
        image = image_shape(self.in_shape, "in_shape")
        convolutions, left = downsampling(image, channels)
        head = nn.Linear(left, math.prod(self.out_shape))
        preserve_scale([*convolutions, head], nn.ReLU())
        layers: list[nn.Module] = [nn.Flatten(), nn.Unflatten(1, image)]
        for convolution in convolutions:
            layers += [
                convolution,
                *blocks(convolution.out_channels, num_blocks, num_blocks * len(channels)),
                nn.ReLU(),
            ]
        self.layers = nn.Sequential(*layers, nn.Flatten(), head)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, num_blocks={self.num_blocks}"


class ResNetDecoder(Network):
    """`ConvDecoder` with residual blocks before each stride: `ResNetEncoder` backwards.

    Args:
        in_shape: shape of one input; an int for a vector.
        out_shape: shape of one output, (..., channels, height, width); leading sizes become channels.
        channels: channels before each stride of two, smallest image first.
        num_blocks: residual blocks at each size of the image but the last.

    Raises:
        ValueError: not an image, a side below ``2 ** len(channels)`` pixels, or a negative num_blocks.

    Example:
        >>> ResNetDecoder(8, (2, 3, 28, 20))(torch.zeros(7, 5, 8)).shape
        torch.Size([7, 5, 2, 3, 28, 20])
    """

    def __init__(
        self, in_shape: Shape, out_shape: Shape, channels: Sequence[int] = (64, 32), num_blocks: int = 1
    ) -> None:
        super().__init__(in_shape, out_shape)
        self.channels, self.num_blocks = tuple(channels), num_blocks
        start, convolutions = upsampling(image_shape(self.out_shape, "out_shape"), channels)
        first = nn.Linear(math.prod(self.in_shape), math.prod(start))
        preserve_scale([first, *convolutions], nn.ReLU())
        layers: list[nn.Module] = [nn.Flatten(), first, nn.Unflatten(1, start)]
        for convolution in convolutions:
            layers += [*blocks(convolution.in_channels, num_blocks, num_blocks * len(channels)), nn.ReLU(), convolution]
        self.layers = nn.Sequential(*layers)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, num_blocks={self.num_blocks}"
