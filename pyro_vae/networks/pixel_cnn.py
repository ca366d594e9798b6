"""Masked gated convolutions: features of each pixel from the pixels before it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from .network import Network, Shape, as_shape, image_shape

GATE = 0.2  # E[(tanh(u) sigmoid(v))^2] of independent standard normal u, v is 0.394 * 0.293; tanh saturates above


def gate(x: Tensor) -> Tensor:
    """tanh of the first half of the channels, switched by the sigmoid of the second."""
    values, gates = x.chunk(2, 1)
    return torch.tanh(values) * torch.sigmoid(gates)


class MaskedConv(nn.Conv2d):
    """Convolution over the same row, up to the pixel itself: there each colour sees the colours before it.

    Args:
        inputs: colour of each input channel.
        outputs: colour of each output channel.
        reach: how many pixels to the left are seen.
        strict: whether a colour does not see itself (a mask of type A), or does (type B).
    """

    def __init__(self, inputs: Tensor, outputs: Tensor, reach: int, *, strict: bool) -> None:
        super().__init__(len(inputs), len(outputs), (1, reach + 1))
        self.reach = reach
        mask = torch.ones_like(self.weight)
        mask[:, :, 0, -1] = (inputs < outputs[:, None] if strict else inputs <= outputs[:, None]).float()
        self.mask = nn.Buffer(mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(functional.pad(x, (self.reach, 0)), self.weight * self.mask, self.bias)


class GatedLayer(nn.Module):
    """One step of two stacks: all rows above (vertical), and the row itself up to the pixel (horizontal)."""

    def __init__(self, inputs: Tensor, hidden: Tensor, features: int, reach: int, *, first: bool) -> None:
        super().__init__()
        self.reach, self.first, width = reach, first, len(hidden)
        self.vertical = nn.Conv2d(len(inputs), 2 * width, (reach + 1, 2 * reach + 1))
        self.horizontal = MaskedConv(inputs, hidden.repeat(2), reach, strict=first)
        self.link = nn.Conv2d(width, 2 * width, 1)
        self.condition = nn.Conv2d(features, 4 * width, 1)
        self.mix = MaskedConv(hidden, hidden, 0, strict=False)
        with torch.no_grad():
            terms = (self.vertical, 2, first), (self.horizontal, 3, first), (self.link, 3, False), (self.mix, 1, False)
            for layer, count, raw in terms:  # the variances of a sum of count terms together are 1
                inside = layer.weight[0].numel() * count * (1.0 if raw else GATE)
                nn.init.normal_(layer.weight, std=1 / math.sqrt(inside))
                nn.init.constant_(layer.get_parameter("bias"), 0.0)

    def forward(self, vertical: Tensor, horizontal: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        vertical, guide = self.down(vertical, features)
        return vertical, self.along(horizontal, guide)

    def down(self, vertical: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """The vertical stack, and what it and the features tell the horizontal one."""
        for_vertical, for_horizontal = self.condition(features).chunk(2, 1)
        vertical = gate(self.vertical(functional.pad(vertical, (self.reach, self.reach, self.reach, 0))) + for_vertical)
        above = functional.pad(vertical, (0, 0, 1, 0))[:, :, :-1]  # this far the vertical stack saw its own row
        return vertical, self.link(above) + for_horizontal

    def along(self, horizontal: Tensor, guide: Tensor) -> Tensor:
        """The horizontal stack."""
        mixed: Tensor = self.mix(gate(self.horizontal(horizontal) + guide))
        return mixed if self.first else horizontal + mixed


class Stacks(nn.Module):
    """The layers of `GatedPixelCNN`: (N, 1 + F, ..., H, W) of x and h together to (N, F C, H, W)."""

    def __init__(self, colours: int, features_per_value: int, channels: int, num_layers: int, reach: int) -> None:
        super().__init__()
        self.reach = reach
        values, hidden = torch.arange(colours), torch.arange(channels) * colours // channels
        features = values.repeat(features_per_value)
        self.colours = colours
        self.gated = nn.ModuleList(
            GatedLayer(values if first else hidden, hidden, len(features), reach, first=first)
            for first in [True] + [False] * (num_layers - 1)
        )
        last = MaskedConv(hidden, features, 0, strict=False)
        nn.init.zeros_(last.weight)  # at the start no pixel tells of another
        nn.init.zeros_(last.get_parameter("bias"))
        self.head = nn.Sequential(nn.ReLU(), MaskedConv(hidden, hidden, 0, strict=False), nn.ReLU(), last)

    def forward(self, both: Tensor) -> Tensor:
        both = both.flatten(1, -3)
        x, h = both[:, : self.colours], both[:, self.colours :]
        vertical = horizontal = x
        for layer in self.gated:
            vertical, horizontal = layer(vertical, horizontal, h)
        return h + self.head(horizontal)

    def by_value(self, x: Tensor, h: Tensor) -> Iterator[tuple[int, int, int, Tensor]]:
        """Row, column and colour of one value after the other, with its features (N, F C) from the values before it.

        All layers of a pixel are worked out once for each colour, from what they gave at the pixels to the left, and
        the rows above once for each row.

        Args:
            x: (N, C, H, W), into which each value is put before the next one is asked for.
            h: (N, F C, H, W).
        """
        reach, (_, _, height, width) = self.reach, x.shape
        gated = cast(list[GatedLayer], list(self.gated))
        for row in range(height):
            top = max(0, row - 1 - len(gated) * reach)  # no higher row is seen
            vertical, above, guides = x[:, :, top : row + 1], h[:, :, top : row + 1], []
            for layer in gated:
                vertical, guide = layer.down(vertical, above)
                guides.append(guide[:, :, -1:])
            sizes = [self.colours, *(layer.mix.out_channels for layer in gated)]
            lines = [x.new_zeros(len(x), size, 1, reach + width) for size in sizes]  # what each layer takes, padded
            for column, colour in itertools.product(range(width), range(self.colours)):
                lines[0][:, :, 0, reach : reach + column + 1] = x[:, :, row, : column + 1]
                window, here = slice(column, column + reach + 1), slice(reach + column, reach + column + 1)
                for layer, line, after, guide in zip(gated, lines, lines[1:], guides, strict=False):
                    after[..., here] = layer.along(line[..., window], guide[..., column : column + 1])[..., -1:]
                yield row, column, colour, h[:, :, row, column] + self.head(lines[-1][..., here]).flatten(1)


class GatedPixelCNN(Network):
    """Features of each pixel from the pixels before it, in rows from the top left, and the colours before it.

    Two stacks of gated convolutions, so that every pixel above within ``reach`` is seen (no blind spot). The network
    starts as the identity on h.

    Args:
        event_shape: shape of one x, (..., height, width); leading sizes are colours.
        features_per_value: F, numbers in h for each value of x.
        channels: width of the hidden layers.
        num_layers: gated layers.
        kernel_size: side of the convolutions, odd.

    Shapes:
        called with x and h stacked, (..., 1 + F, *event_shape); returns (..., F, *event_shape).

    Reference:
        van den Oord, Kalchbrenner, Vinyals, Espeholt, Graves, Kavukcuoglu 2016, "Conditional image generation with
        PixelCNN decoders".

    Example:
        >>> GatedPixelCNN((1, 5, 4))(torch.zeros(7, 2, 1, 5, 4)).shape
        torch.Size([7, 1, 1, 5, 4])
    """

    layers: Stacks

    def __init__(
        self,
        event_shape: Shape,
        features_per_value: int = 1,
        channels: int = 32,
        num_layers: int = 4,
        kernel_size: int = 5,
    ) -> None:
        event = as_shape(event_shape)
        colours, _, _ = image_shape(event, "event_shape", "another likelihood")
        if channels < colours or num_layers < 1:
            raise ValueError(
                f"Expected channels >= {colours}, the number of colours, and num_layers >= 1; got {channels} and "
                f"{num_layers}."
            )
        if kernel_size < 3 or kernel_size % 2 == 0:
            raise ValueError(f"Expected an odd kernel_size of at least 3; got {kernel_size}.")
        super().__init__((1 + features_per_value, *event), (features_per_value, *event))
        self.layers = Stacks(colours, features_per_value, channels, num_layers, kernel_size // 2)
