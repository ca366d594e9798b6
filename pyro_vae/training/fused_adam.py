"""Adam's update as a function of tensors."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


def adam_update(settings: Tensor, taken: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
    """Adam's update as a function of parameter, gradient, mean and mean square; it returns all but the gradient anew.

    Args:
        settings: learning rate, 1 - beta_1, 1 - beta_2, eps and weight decay, shape (5,).
        taken: number of steps with this one, shape ().

    Reference: Kingma and Ba (2015), Adam, order of operations as at the end of section 2; Loshchilov and Hutter (2019),
    Decoupled Weight Decay.
    """
    rate, new_mean, new_square, eps, decay = settings.unbind()
    # As exponentials, not powers: the compiler computes what holds an exponential once, and a power for each element.
    mean_bias, square_bias = (
        1 - torch.exp(taken.double() * torch.log1p(-share.double())) for share in (new_mean, new_square)
    )
    size, floor = ((factor * square_bias.sqrt()).to(settings.dtype) for factor in (rate / mean_bias, eps))

    def update(parameter: Tensor, gradient: Tensor, mean: Tensor, square: Tensor) -> tuple[Tensor, ...]:
        mean = mean + new_mean * (gradient - mean)
        square = square + new_square * (gradient.square() - square)
        return parameter * (1 - rate * decay) - size * mean / (square.sqrt() + floor), mean, square

    return update
