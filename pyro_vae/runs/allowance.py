"""What making a model may take of the memory: settings of a few bytes can ask for any amount."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

FACTORIES = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.eye}
LEAST = 2**26  # bytes that any model may take


class _Counting(TorchFunctionMode):
    def __init__(self, most: int, what: str) -> None:
        super().__init__()
        self.left, self.most, self.what = most, most, what

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in FACTORIES:
            self.left -= 4 * _numbers(func, args, kwargs)
            if self.left < 0:
                raise ValueError(
                    f"Expected {self.what}, with at most {self.most:,} bytes of tensors; got settings that ask for "
                    f"more. Choose smaller sizes, or look for a size that is mistyped."
                )
        return func(*args, **kwargs)


def _numbers(func: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any]) -> int:
    """How many a new tensor will hold, by the sizes that are asked for."""
    sizes = kwargs.get("size", args[:1] if func is torch.full or (args and not isinstance(args[0], int)) else args)
    sizes = sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes
    if func is torch.eye and len(sizes) == 1:
        sizes = (*sizes, *sizes)
    return math.prod(size for size in sizes if isinstance(size, int))


@contextlib.contextmanager
def at_most(most: int, *, what: str) -> Iterator[None]:
    """Inside, new tensors hold at most so many bytes together; more are refused before they are made.

    Args:
        most: bytes; 64 MiB are always allowed.
        what: is made, for the message.

    Raises:
        ValueError: more is asked for.

    Example:
        >>> with at_most(0, what="a small layer"):
        ...     layer = torch.nn.Linear(100, 100)
        >>> with at_most(0, what="a small layer"):  # doctest: +ELLIPSIS
        ...     torch.nn.Linear(10**6, 10**6)
        Traceback (most recent call last):
            ...
        ValueError: Expected a small layer, with at most 67,108,864 bytes of tensors; got settings that ask for more...
    """
    with _Counting(max(most, LEAST), what):
        yield
