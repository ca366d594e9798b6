"""Categories and lengths, which a pair looks something up by: torch checks them late, or on a CPU alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

PACK = "_pack_padded_sequence"  # what `torch.nn.utils.rnn.pack_padded_sequence` calls


class LookupsChecked(TorchFunctionMode):
    """Refuses categories that an embedding, a one-hot code or a table does not have, and lengths beyond a padded
    sequence, or of none.

    On a GPU torch stops the process for the first three, and anywhere it reads beyond its memory for lengths. A table
    that is indexed by -1 gives its last row, without a word.

    Raises, where the pair calls them:
        ValueError: an index is out of range.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is functional.embedding:
            indices, table = _given(args, kwargs, "input", "weight")
            _check(indices, len(table), f"an embedding of {len(table):,}")
        elif func is functional.one_hot:
            indices, count = _given(args, kwargs, "input", "num_classes")
            if count is not None and count > 0:
                _check(indices, count, f"a one-hot code of {count:,}")
        elif func is Tensor.__getitem__:
            for indices, size in _looked_up(*args):
                _check(indices, size, f"a dimension of {size:,}")
        elif getattr(func, "__name__", None) == PACK:
            sequence, lengths, batch_first = (*args, False)[:3]
            longest = sequence.shape[1 if batch_first else 0]
            if int(lengths.min()) < 1:
                raise ValueError(
                    f"Expected lengths of at least 1 for packed sequences; got {int(lengths.min())}. Leave out "
                    f"sequences without values, or pack lengths.clamp(min=1)."
                )
            if int(lengths.max()) > longest:
                raise ValueError(
                    f"Expected lengths up to that of the padded sequences, {longest:,}; got {int(lengths.max()):,}. "
                    f"Pad to the longest, or cut the lengths."
                )
        return func(*args, **kwargs)


def _given(args: Any, kwargs: Any, *names: str) -> list[Any]:
    return [args[i] if i < len(args) else kwargs.get(name) for i, name in enumerate(names)]


def _looked_up(table: Any, index: Any) -> Iterator[tuple[Tensor, int]]:
    """The tensors of whole numbers among the indices of a tensor, each with the size of the dimension it is for."""
    parts = index if isinstance(index, tuple) else (index,)
    taken = [_dimensions(part) for part in parts]
    dim = 0
    for part, dims in zip(parts, taken, strict=True):
        if part is Ellipsis:
            dim = table.dim() - sum(taken) + dim
        elif isinstance(part, Tensor) and dims == 1 and part.dtype not in (torch.bool, torch.uint8):
            yield part, table.shape[dim]
        dim += dims


def _dimensions(part: Any) -> int:
    """How many dimensions of a tensor an index takes."""
    if part is None or part is Ellipsis or isinstance(part, bool):
        return 0
    return part.dim() if isinstance(part, Tensor) and part.dtype in (torch.bool, torch.uint8) else 1


def _check(indices: Any, count: int, what: str) -> None:
    if not isinstance(indices, Tensor) or indices.is_floating_point() or indices.numel() == 0:
        return  # torch says what is wrong with these
    low, high = (int(value) for value in torch.aminmax(indices))
    if low < 0 or high >= count:
        raise ValueError(
            f"Expected categories from 0 to {count - 1:,} for {what}; got {low if low < 0 else high:,}. Number the "
            f"categories from 0 (numpy.unique(y, return_inverse=True)), or make room for more."
        )
