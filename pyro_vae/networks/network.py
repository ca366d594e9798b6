"""What networks share: shapes, any leading dimensions, and weights that start so that signals keep their scale."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

Shape = int | Sequence[int]
MakeNetwork = Callable[[Shape, Shape], nn.Module]  # from its input and output shape
# Outputs begin small: an untrained network says little, and a likelihood starts where zero features put it.
OUTPUT_SCALE = 0.1
Layer = nn.Linear | nn.Conv2d | nn.ConvTranspose2d


def as_shape(shape: Shape) -> tuple[int, ...]:
    """``40`` or ``(1, 28, 28)`` as a tuple of positive sizes.

    Raises:
        ValueError: a size below 1 or not a whole number, or no size at all.
    """
    try:
        sizes = tuple(map(operator.index, shape if isinstance(shape, Iterable) else (shape,)))
    except TypeError:
        raise ValueError(f"Expected a shape of whole numbers; got {shape!r}.") from None
    if not sizes or any(size < 1 for size in sizes):
        raise ValueError(f"Expected a shape of sizes of at least 1; got {sizes}.")
    return sizes


def checked_widths(widths: Sequence[int]) -> list[int]:
    """The widths of hidden layers, if all are at least 1."""
    if any(width < 1 for width in widths):
        raise ValueError(f"Expected hidden widths of at least 1; got {list(widths)}.")
    return list(widths)


class Network(nn.Module):
    """A deterministic map from ``(..., *in_shape)`` to ``(..., *out_shape)``.

    Abstract: a subclass gives ``layers``, a module that maps ``(N, *in_shape)`` to ``N`` rows of
    ``prod(out_shape)`` numbers in any shape. All leading dimensions (images, particles) are folded into ``N``
    here and nowhere else, so that every network works under the extra particle dimension of the estimators.
    """

    layers: nn.Module

    def __init__(self, in_shape: Shape, out_shape: Shape) -> None:
        super().__init__()
        self.in_shape = as_shape(in_shape)
        self.out_shape = as_shape(out_shape)

    def __repr__(self) -> str:
        """The network as it was built, on one line; ``print(network.layers)`` shows what it is made of."""
        given = [str(self.in_shape), str(self.out_shape), *filter(None, [self.extra_repr()])]
        return f"{type(self).__name__}({', '.join(given)})"

    def forward(self, x: Tensor) -> Tensor:
        """Map x of shape (..., *in_shape) to (..., *out_shape)."""
        split = x.dim() - len(self.in_shape)
        if split < 0 or tuple(x.shape[split:]) != self.in_shape:
            wanted = ", ".join(map(str, ("...", *self.in_shape)))
            raise ValueError(
                f"Expected input of shape ({wanted}) for {type(self).__name__}; got {tuple(x.shape)}. "
                f"Build the network with in_shape equal to the shape of one input."
            )
        leading = x.shape[:split]
        return self.layers(x.reshape(math.prod(leading), *self.in_shape)).reshape(*leading, *self.out_shape)


def image_shape(shape: tuple[int, ...], name: str, otherwise: str = "an MLP") -> tuple[int, int, int]:
    """Split ``(*lead, H, W)`` into channels (the product of lead), height and width."""
    if len(shape) < 2:
        raise ValueError(
            f"Expected {name} of an image, (..., height, width); got {shape}. "
            f"Use {otherwise} for flat data, or give the images' shape, such as (1, 28, 28)."
        )
    return math.prod(shape[:-2]), shape[-2], shape[-1]


def halvings(size: int, times: int) -> list[int]:
    """Sizes of an image's side under repeated strides of two: ``halvings(28, 2) == [28, 14, 7]``."""
    if size < 2**times:
        raise ValueError(
            f"Expected an image side of at least {2**times} pixels for {times} strides of two; got {size}. "
            f"Give fewer channels (one stride each)."
        )
    sides = [size]
    for _ in range(times):
        sides.append((sides[-1] + 1) // 2)
    return sides


def count_parameters(module: nn.Module) -> int:
    """Number of trainable scalars in a module, shared ones counted once."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)


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
