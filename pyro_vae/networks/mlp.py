"""Multilayer perceptron."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

from torch import nn

from .network import Network, Shape, checked_widths, preserve_scale


class MLP(Network):
    """Fully connected layers with an activation between them: the plain choice for small or flat data.

    Args:
        in_shape: shape of one input; an int for a vector.
        out_shape: shape of one output.
        hidden: width of each hidden layer; empty for a linear map.
        activation: makes the module between layers.

    Raises:
        ValueError: a width or size below 1.

    Example:
        >>> import torch
        >>> MLP(20, (1, 8, 8), hidden=(32,))(torch.zeros(5, 3, 20)).shape
        torch.Size([5, 3, 1, 8, 8])
    """

    def __init__(
        self,
        in_shape: Shape,
        out_shape: Shape,
        hidden: Sequence[int] = (300, 300),
        activation: Callable[[], nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__(in_shape, out_shape)
        self.hidden, self.activation = tuple(hidden), type(activation()).__name__
        widths = [math.prod(self.in_shape), *checked_widths(hidden)]
        linear = [nn.Linear(a, b) for a, b in itertools.pairwise([*widths, math.prod(self.out_shape)])]
        preserve_scale(linear, activation())
        hidden_layers = [layer for hidden_layer in linear[:-1] for layer in (hidden_layer, activation())]
        self.layers = nn.Sequential(nn.Flatten(), *hidden_layers, linear[-1])

    def extra_repr(self) -> str:
        return f"hidden={self.hidden}" + (f", activation={self.activation}" if self.activation != "ReLU" else "")
