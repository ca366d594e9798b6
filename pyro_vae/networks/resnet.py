"""Residual convolutional encoder and its mirror image."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..arguments.at_least import at_least
from .conv import Blocks, downsampling, upsampling
from .network import Network, Shape, preserve_scale


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
        return x + self.scale * self.layers(x)


def residual(num_blocks: int, channels: Sequence[int]) -> Blocks:
    """``num_blocks`` residual blocks at each size of the image."""
    at_least(0, num_blocks=num_blocks)
    scale = 1 / math.sqrt(max(1, num_blocks * len(channels)))
    return lambda width: [ResidualBlock(width, scale) for _ in range(num_blocks)]


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
        blocks = residual(num_blocks, channels)
        self.layers = downsampling(self.in_shape, math.prod(self.out_shape), channels, blocks)

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
        blocks = residual(num_blocks, channels)
        self.layers = upsampling(math.prod(self.in_shape), self.out_shape, channels, blocks)

    def extra_repr(self) -> str:
        return f"channels={self.channels}, num_blocks={self.num_blocks}"
