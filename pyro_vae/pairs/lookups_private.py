"""Categories and lengths, which a pair looks something up by: torch checks them late, or on a CPU alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

PACK = "_pack_padded_sequence"  # what `torch.nn.utils.rnn.pack_padded_sequence` calls


class LookupsChecked(TorchFunctionMode):
    """Refuses categories that an embedding or a one-hot code does not have, and lengths beyond a padded sequence.

    On a GPU torch stops the process for the first two, and anywhere it reads beyond its memory for the third.

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
        elif getattr(func, "__name__", None) == PACK:
            sequence, lengths, batch_first = (*args, False)[:3]
            longest = sequence.shape[1 if batch_first else 0]
            if int(lengths.max()) > longest:
                raise ValueError(
                    f"Expected lengths up to that of the padded sequences, {longest:,}; got {int(lengths.max()):,}. "
                    f"Pad to the longest, or cut the lengths."
                )
        return func(*args, **kwargs)


def _given(args: Any, kwargs: Any, *names: str) -> list[Any]:
    return [args[i] if i < len(args) else kwargs.get(name) for i, name in enumerate(names)]


def _check(indices: Any, count: int, what: str) -> None:
    if not isinstance(indices, Tensor) or indices.is_floating_point() or indices.numel() == 0:
        return  # torch says what is wrong with these
    low, high = (int(value) for value in torch.aminmax(indices))
    if low < 0 or high >= count:
        raise ValueError(
            f"Expected categories from 0 to {count - 1:,} for {what}; got {low if low < 0 else high:,}. Number the "
            f"categories from 0 (numpy.unique(y, return_inverse=True)), or make room for more."
        )
