"""Whether two trainings are the same one: their data, settings, and what optimizers were made of."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..arguments.rows import Rows
from ..pairs.batch import Batch
from ..pairs.inputs import Loader, Samples, alike

LOOKED_AT = 1_000  # rows of an array on disk


def comparable(value: Any) -> Any:
    """A value as JSON, to be compared: of tensors a digest, of objects their class, of functions their name."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case Tensor():
            content = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            digest = hashlib.sha256(content.data).hexdigest()
            return f"{value.dtype} {tuple(value.shape)} with digest {digest}"
        case Rows():  # which may be larger than the memory: some rows stand for all
            some = torch.linspace(0, len(value) - 1, min(len(value), LOOKED_AT)).long()
            return f"{len(value):,} rows, among them {comparable(value[some])}"
        case Samples():
            return f"{len(value):,} data points of {type(value.dataset).__name__}"
        case Loader():
            _require_no_generator(value)
            return f"batches like {alike(value.first)}"
        case Batch():
            return {name: comparable(entry) for name, entry in value.named()}
        case Mapping():
            return {str(key): comparable(item) for key, item in value.items()}
        case list() | tuple():
            return [comparable(item) for item in value]
    return getattr(value, "__name__", type(value).__name__)


def _require_no_generator(loader: Loader) -> None:
    """Raise a ValueError for a loader of torch that draws from a stream of its own, whose place would not be saved."""
    parts = (loader.batches, getattr(loader.batches, "sampler", None))
    if any(getattr(part, "generator", None) is not None for part in parts):
        raise ValueError(
            f"Expected {loader.name} to draw from torch's global stream, whose place a checkpoint holds; got a loader "
            f"with a generator of its own. Leave generator=... out: the seed of fit rules its order."
        )


def require_equal(before: Any, now: Any, *, but: Iterable[str] = ()) -> None:
    """Raise a ValueError that names the first setting which is not as in the checkpoint."""
    before, now = dict(flat(before)), dict(flat(now))
    for name in (name for name in before | now if name not in but):
        if (was := before.get(name)) != (is_now := now.get(name)):
            raise ValueError(
                f"Expected {name} as in the checkpoint, {was!s:.90}; got {is_now!s:.90}. Go on with the same settings "
                f"and data, or begin anew in another folder (--out, or --overwrite, for a command)."
            )


def flat(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """What is in nested dicts and lists, with its place: "prior.num_components"."""
    if not isinstance(value, dict | list):
        yield name, value
        return
    items: Iterable[tuple[Any, Any]] = value.items() if isinstance(value, dict) else enumerate(value)
    for key, item in items:
        yield from flat(item, f"{name}.{key}" if name else key)
