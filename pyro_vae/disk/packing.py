"""Nested Python values as JSON and tensors beside it, exactly: what is unpacked equals what was packed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

LONG = 64  # whole numbers in a row: with more, as the state of a random generator has them, they become a tensor


def packed(value: Any, tensors: dict[str, Tensor], name: str = "state") -> Any:
    """A value as JSON; tensors in it, and arrays, are set aside under the names of their places.

    Args:
        value: None, flags, numbers (also those that are not finite), words, tensors, NumPy arrays, and lists, tuples,
            dicts and counters of them.
        tensors: takes what is set aside, contiguous and on the CPU.
        name: of the place of this value.

    Raises:
        ValueError: there is something else in it; names the place.

    Example:
        >>> tensors = {}
        >>> value = {"rate": float("inf"), "betas": (0.9, 0.999), "mean": torch.zeros(2), 3: None}
        >>> as_json = packed(value, tensors)
        >>> list(tensors), unpacked(as_json, tensors)["betas"]
        (['state/mean'], (0.9, 0.999))
    """
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else {"$float": str(value)}
        case Tensor():
            tensors[name] = value.detach().cpu().contiguous()
            return {"$tensor": name, "strides": list(value.stride())}
        case np.ndarray():
            tensors[name] = torch.from_numpy(value.astype(np.int64) if value.dtype.kind in "iu" else value.copy())
            return {"$array": name, "dtype": str(value.dtype)}
        case list() | tuple():
            form = None if type(value) is list else "$tuple"
            if len(value) > LONG and all(type(item) is int and abs(item) < 2**63 for item in value):
                tensors[name] = torch.tensor(value)
                return {"$numbers": name, "tuple": form is not None}
            items = [packed(item, tensors, f"{name}/{i}") for i, item in enumerate(value)]
            return items if form is None else {form: items}
        case dict():
            if type(value) is dict and all(type(key) is str and not key.startswith("$") for key in value):
                return {key: packed(item, tensors, f"{name}/{key}") for key, item in value.items()}
            pairs = [[key, packed(item, tensors, f"{name}/{key}")] for key, item in value.items()]
            if all(type(key) in (int, str) for key in value):
                return {"$counter" if isinstance(value, Counter) else "$dict": pairs}
    raise ValueError(f"Expected numbers, words and tensors to save at {name}; got {type(value).__name__}.")


def unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """What was packed, its tensors laid out in memory as they were."""
    match value:
        case {"$float": text}:
            return float(text)
        case {"$tensor": name, "strides": strides}:
            tensor = tensors[name]
            if [*tensor.stride()] == strides:
                return tensor
            return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype).copy_(tensor)
        case {"$array": name, "dtype": dtype}:
            return tensors[name].numpy().astype(dtype)
        case {"$numbers": name, "tuple": is_tuple}:
            numbers = tensors[name].tolist()
            return tuple(numbers) if is_tuple else numbers
        case {"$tuple": items}:
            return tuple(unpacked(item, tensors) for item in items)
        case {"$dict": pairs}:
            return {key: unpacked(item, tensors) for key, item in pairs}
        case {"$counter": pairs}:
            return Counter(dict(pairs))
        case dict():
            return {key: unpacked(item, tensors) for key, item in value.items()}
        case list():
            return [unpacked(item, tensors) for item in value]
    return value
