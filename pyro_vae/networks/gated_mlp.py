"""Multilayer perceptron of gated layers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from .network import Network, Shape, checked_widths, preserve_scale


class GatedLinear(nn.Module):
    """``(W x + b) * sigmoid(V x + c)``: a linear layer whose units are switched by learned gates."""

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, 2 * out_features)  # values and gates in one product

    def forward(self, x: Tensor) -> Tensor:
        return functional.glu(self.linear(x), dim=-1)


class QuietGLU(nn.GLU):
    """`nn.GLU` of gates that are smaller by a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        values, gates = x.chunk(2, -1)
        return values * torch.sigmoid(self.factor * gates)


class GatedMLP(Network):
    """Gated dense layers, then one linear layer: the network of the VampPrior paper.

    A gate opens wider for a larger signal, so that in deep networks what is too large grows from layer to layer, and
    what is too small shrinks. From three gated layers on, gates therefore start smaller by a factor of 2 / depth.

    Args:
        in_shape: shape of one input; an int for a vector.
        out_shape: shape of one output.
        hidden: width of each gated layer.

    Raises:
        ValueError: a width or size below 1.

    Reference:
        Dauphin, Fan, Auli, Grangier 2017, "Language modeling with gated convolutional networks";
        used for VAEs by Tomczak, Welling 2018, "VAE with a VampPrior".

    Example:
        >>> import torch
        >>> GatedMLP((1, 8, 8), (2, 20), hidden=(32, 32))(torch.zeros(5, 1, 8, 8)).shape
        torch.Size([5, 2, 20])
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, hidden: Sequence[int] = (300, 300)) -> None:
        super().__init__(in_shape, out_shape)
        self.hidden = tuple(hidden)
        widths = [math.prod(self.in_shape), *checked_widths(hidden)]
        gated = [GatedLinear(before, after) for before, after in itertools.pairwise(widths)]
        head = nn.Linear(widths[-1], math.prod(self.out_shape))
        factor = min(1.0, 2 / max(1, len(gated)))
        preserve_scale([*(layer.linear for layer in gated), head], QuietGLU(factor))
        with torch.no_grad():
            for layer in gated:
                layer.linear.weight.chunk(2)[1].mul_(factor)
        self.layers = nn.Sequential(nn.Flatten(), *gated, head)

    def extra_repr(self) -> str:
        return f"hidden={self.hidden}"
