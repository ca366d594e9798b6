"""The one place where shapes and leading dimensions of networks are handled."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

Shape = int | Sequence[int]


def as_shape(shape: Shape) -> tuple[int, ...]:
    """``40`` or ``(1, 28, 28)`` as a tuple of positive sizes.

    Raises:
        ValueError: a size below 1, or no size at all.
    """
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    if not sizes or any(size < 1 for size in sizes):
        raise ValueError(f"Expected a shape of sizes of at least 1; got {sizes}.")
    return sizes


def positive(widths: Sequence[int]) -> list[int]:
    """The widths of hidden layers, if all are at least 1.

    Raises:
        ValueError: one is not.
    """
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
        """As it was built, on one line; ``print(network.layers)`` shows what it is made of."""
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
        out: Tensor = self.layers(x.reshape(math.prod(leading), *self.in_shape))
        return out.reshape(*leading, *self.out_shape)


def image_shape(shape: tuple[int, ...], name: str, otherwise: str = "an MLP") -> tuple[int, int, int]:
    """Split ``(*lead, H, W)`` into channels (the product of lead), height and width.

    Raises:
        ValueError: fewer than two dimensions, so not an image.
    """
    if len(shape) < 2:
        raise ValueError(
            f"Expected {name} of an image, (..., height, width); got {shape}. "
            f"Use {otherwise} for flat data, or give the images' shape, such as (1, 28, 28)."
        )
    return math.prod(shape[:-2]), shape[-2], shape[-1]


def halvings(size: int, times: int) -> list[int]:
    """Sizes of an image's side under repeated strides of two: ``halvings(28, 2) == [28, 14, 7]``.

    Raises:
        ValueError: the side is too small to be halved that often.
    """
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


__all__ = ["Network", "Shape", "as_shape", "count_parameters", "halvings", "image_shape", "positive"]


MakeNetwork = Callable[[Shape, Shape], nn.Module]  # from its input and output shape
