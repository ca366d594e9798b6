"""Random numbers of some rows of a batch, as they are drawn for all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


@dataclass(frozen=True)
class _Place:
    """Where the rows are in what is drawn: along a dimension, so many from a first one on; none in what has no rows."""

    dim: int
    first: int
    count: int
    whole: torch.Size

    def rows(self, drawn: Tensor) -> Tensor:
        return drawn.narrow(self.dim, self.first, self.count) if self.count else drawn

    def padded(self, value: Any) -> Any:
        """A parameter of what is drawn with values for the other rows, too: any that are valid."""
        if not isinstance(value, Tensor) or not self.count:
            return value
        dim = self.dim - (len(self.whole) - value.dim())
        if dim < 0 or value.shape[dim] != self.count:
            return value
        numbers = torch.arange(self.whole[self.dim], device=value.device) - self.first
        return value.index_select(dim, numbers.clamp(0, self.count - 1))


class WholeDraws(TorchFunctionMode):
    """Inside, torch's random functions draw for a whole batch what is asked for some of its rows, and give these.

    So the rows get the numbers that they would get among the whole batch, and the generator ends where it would: each
    of several processes can take its rows. The batch is the first dimension of a draw that has the length of the rows,
    or the first dimension if it is a multiple of that. Functions that reject what they have drawn (gamma, Dirichlet,
    Poisson) take more or fewer numbers for other values, and are left as they are.

    Args:
        first: number of the first row.
        count: of the rows, fewer than all.
        size: of the whole batch.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> whole = torch.randn(5, 2)
        >>> _ = torch.manual_seed(0)
        >>> with WholeDraws(3, 2, 5):
        ...     print(torch.equal(torch.randn(2, 2), whole[3:5]))
        True
    """

    def __init__(self, first: int, count: int, size: int) -> None:
        super().__init__()
        self.first, self.count, self.size = first, count, size

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        draw = DRAWS.get(func)
        if draw is None or kwargs.get("generator") is not None or kwargs.get("out") is not None:
            return func(*args, **kwargs)
        return draw(self, func, *args, **kwargs)

    def place_in(self, shape: torch.Size) -> _Place:
        """Where the rows are in a draw of this shape."""
        dim = next((dim for dim, length in enumerate(shape) if length == self.count), 0)
        times, rest = divmod(shape[dim], self.count) if shape else (0, 0)
        if rest or not times:
            return _Place(0, 0, 0, shape)
        whole = torch.Size([*shape[:dim], times * self.size, *shape[dim + 1 :]])
        return _Place(dim, times * self.first, times * self.count, whole)


def _sized(mode: WholeDraws, func: Any, *size: Any, **named: Any) -> Tensor:
    """rand, randn"""
    given = named.pop("size", size[0] if len(size) == 1 and not isinstance(size[0], int) else size)
    place = mode.place_in(torch.Size(given))
    return place.rows(func(place.whole, **named))


def _whole_numbers(mode: WholeDraws, func: Any, *limits_and_size: Any, **named: Any) -> Tensor:
    """randint"""
    *limits, size = (*limits_and_size, named.pop("size")) if "size" in named else limits_and_size
    place = mode.place_in(torch.Size(size))
    return place.rows(func(*limits, place.whole, **named))


def _like(mode: WholeDraws, func: Any, like: Tensor, *args: Any, **named: Any) -> Tensor:
    """rand_like, randn_like"""
    place = mode.place_in(like.shape)
    return place.rows(func(like.new_empty(place.whole) if place.count else like, *args, **named))


def _with_parameters(mode: WholeDraws, func: Any, *args: Any, **named: Any) -> Tensor:
    """normal, bernoulli, multinomial"""
    if "size" in named or (args and isinstance(args[-1], (tuple, list))):
        *rest, size = (*args, named.pop("size")) if "size" in named else args
        return _sized(mode, lambda whole, **others: func(*rest, whole, **others), *[size], **named)
    shapes = [value.shape for value in (*args, *named.values()) if isinstance(value, Tensor)]
    place = mode.place_in(torch.broadcast_shapes(*shapes))
    padded = {name: place.padded(value) for name, value in named.items()}
    return place.rows(func(*map(place.padded, args), **padded))


def _filling(mode: WholeDraws, func: Any, target: Tensor, *args: Any, **named: Any) -> Tensor:
    """normal_, uniform_, ..."""
    place = mode.place_in(target.shape)
    if not place.count:
        return func(target, *args, **named)
    padded = {name: place.padded(value) for name, value in named.items()}
    return target.copy_(place.rows(func(target.new_empty(place.whole), *map(place.padded, args), **padded)))


def _dropout(
    mode: WholeDraws, func: Any, input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """What is dropped of ones is dropped of anything."""
    place = mode.place_in(input.shape)
    if not (training and p and place.count):
        return func(input, p, training, inplace)
    kept = place.rows(func(input.new_ones(place.whole), p, True))
    return input.mul_(kept) if inplace else input * kept


DRAWS: dict[Any, Callable[..., Tensor]] = {
    **dict.fromkeys((torch.rand, torch.randn), _sized),
    torch.randint: _whole_numbers,
    **dict.fromkeys((torch.rand_like, torch.randn_like), _like),
    **dict.fromkeys((torch.normal, torch.bernoulli, torch.multinomial), _with_parameters),
    **dict.fromkeys((Tensor.bernoulli, Tensor.multinomial), _with_parameters),
    **dict.fromkeys((Tensor.uniform_, Tensor.normal_, Tensor.log_normal_, Tensor.exponential_), _filling),
    **dict.fromkeys((Tensor.cauchy_, Tensor.geometric_, Tensor.bernoulli_), _filling),
    **dict.fromkeys((functional.dropout, functional.dropout1d, functional.dropout2d, functional.dropout3d), _dropout),
}
