"""How the weights of networks start: so that signals keep their scale, and outputs begin near zero."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn

# Outputs begin small: an untrained network says little, and a likelihood starts where zero features put it.
OUTPUT_SCALE = 0.1
Layer = nn.Linear | nn.Conv2d | nn.ConvTranspose2d


@torch.no_grad()
def preserve_scale(layers: Sequence[Layer], activation: nn.Module, *, last: float = OUTPUT_SCALE) -> None:
    """Start the layers of a network so that the mean square of what they give stays 1 at any depth.

    W ~ Normal(0, 1 / (fan-in E[f(u)^2])), u ~ Normal(0, 1), f the activation before the layer (none before the first);
    biases at 0. For a ReLU this is the initialization of He et al.

    Args:
        layers: linear layers and (transposed) convolutions in the order in which they are called.
        activation: what stands between them; `nn.GLU` may stand there, too.
        last: root mean square of the outputs of the last layer.

    Reference:
        He, Zhang, Ren, Sun 2015, "Delving deep into rectifiers: surpassing human-level performance on ImageNet
        classification".

    Example:
        >>> layers = [nn.Linear(500, 500) for _ in range(3)]
        >>> preserve_scale(layers, nn.ReLU(), last=1.0)
        >>> x = torch.randn(100, 500)
        >>> print(f"{layers[2](layers[1](layers[0](x).relu()).relu()).square().mean():.0f}")
        1
    """
    for i, layer in enumerate(layers):
        inputs = layer.weight.shape[0 if isinstance(layer, nn.ConvTranspose2d) else 1]
        power = mean_square(activation, inputs) if i else 1.0
        gain = last if i == len(layers) - 1 else 1.0
        nn.init.normal_(layer.weight, std=gain / math.sqrt(fan_in(layer) * power))
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)


def fan_in(layer: Layer) -> float:
    """Number of inputs that an output of a layer is a sum over, on average."""
    if isinstance(layer, nn.ConvTranspose2d):  # strides spread inputs out: an output meets 1 of stride^2 weights
        return layer.weight[:, 0].numel() / math.prod(layer.stride)
    return layer.weight[0].numel()


def mean_square(activation: nn.Module, width: int) -> float:
    """E[f(u)^2] of an activation f that gives ``width`` values, for u ~ Normal(0, 1), by draws of a fixed seed."""
    draws = torch.randn(500, 2 * width if isinstance(activation, nn.GLU) else width, generator=torch.Generator())
    training = activation.training
    power = activation.eval()(draws).square().mean().item()
    activation.train(training)
    return power if power > 0 else 1.0
