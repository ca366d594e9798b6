"""The batches of an epoch: how many data points go into each, and what becomes of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from ..compiled.custom_ops import rows
from ..pairs.batch import Batch, Points, map_points
from ..pairs.modules import Callee
from .trials import run_pair, trying


def choosing(data: Points, batch_transform: Callable[..., Any] | None) -> Callable[[Tensor], Any]:
    """A function that makes the batch for indices (B,)."""
    transform = transforming(batch_transform)
    return lambda indices: transform(map_points(data, lambda entry: rows(entry, indices)))


def transforming(batch_transform: Callable[..., Any] | None) -> Callable[[Any], Any]:
    """A transform, called as the model is, as a function of a batch: of several tensors it makes as many, in the same
    form, else that function raises a TypeError. Without one, the batch as it is."""

    def transformed(batch: Any) -> Any:
        if batch_transform is None:
            return batch
        if not isinstance(batch, Batch):
            return batch_transform(batch)
        made = batch_transform(*batch.args, **batch.kwargs)
        if isinstance(made, Mapping) and made.keys() == batch.kwargs.keys() and not batch.args:
            return Batch((), made)
        if isinstance(made, tuple) and len(made) == len(batch.args) and not batch.kwargs:
            return Batch(made)
        form = f"a tuple of {len(batch.args)}" if batch.args else f"a dict with the keys {[*batch.kwargs]}"
        raise TypeError(f"Expected batch_transform to return {form}, as the data are; got {type(made).__name__}.")

    return transformed


def batch_sizes(
    model: Callee, guide: Callee, batch_of: Callable[[Tensor], Any], indices: Tensor, batch_size: int
) -> list[int]:
    """The sizes of the batches of an epoch: all of ``batch_size``, but for a smaller last one.

    A pair, here in the modes of training, may refuse that one, as `nn.BatchNorm1d` does with a single data point. Then
    the last two batches share their data points, which a warning says.

    Raises:
        ValueError: the pair refuses these batches, too.
    """
    sizes = [len(part) for part in indices.split(batch_size)]
    if sizes[-1] == sizes[0] or (why := _refusal(model, guide, batch_of, indices[: sizes[-1]])) is None:
        return sizes
    *others, last_but_one, last = sizes
    total = last_but_one + last
    shared = [total - total // 2, total // 2]
    reason = (str(why).strip() or type(why).__name__).splitlines()[0].rstrip(".")
    refused = f"The pair refuses the last batch of an epoch, of size {last}: {reason}."
    if any(_refusal(model, guide, batch_of, indices[:size]) for size in shared):
        cure = f"Choose a batch_size that divides the number of data points, {len(indices):,}."
        raise ValueError(f"{refused} {cure}") from why
    warnings.warn(
        f"{refused} The last two batches share their data points instead: {shared[0]} and {shared[1]}.", stacklevel=4
    )
    return [*others, *shared]


def _refusal(model: Callee, guide: Callee, batch_of: Callable[[Tensor], Any], indices: Tensor) -> Exception | None:
    try:
        with trying(model, guide):
            run_pair(model, guide, batch_of(indices))
    except Exception as error:
        return error
    return None
