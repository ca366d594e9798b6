"""From the values of a file to the levels of a likelihood, and back to the very same bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .stack import Whole

DTYPES = ["bool", "uint8", "int8", "uint16", "int16", "int32", "int64", "float16", "float32", "float64"]
NUMBERS, SHARES = 0, 1  # values k, or k / (K - 1)


def levels_of(values: NDArray[Any], count: int) -> tuple[Whole, int]:
    """The levels 0, ..., K - 1 of values, and their form: k itself or, of floating-point numbers, k / (K - 1)."""
    if values.dtype.name not in DTYPES:
        raise ValueError(f"Expected values of one of the types {', '.join(DTYPES)}; got {values.dtype}. Convert them.")
    is_float = values.dtype.kind == "f"
    for form in (SHARES, NUMBERS) if is_float else (NUMBERS,):
        with np.errstate(invalid="ignore"):
            wide = np.nan_to_num(values.astype(np.float64)) * (count - 1 if form == SHARES else 1)
        levels = np.rint(np.clip(wide, 0, count - 1)).astype(np.int64)
        if values_of(levels, count, values.dtype.name, form).tobytes() == values.tobytes():
            return levels, form
    shares = f", or these divided by {count - 1} in {values.dtype}" if is_float else ""
    raise ValueError(
        f"Expected whole numbers from 0 to {count - 1}{shares}, as the model's likelihood has them; got other values, "
        f"from {values.min()} to {values.max()}. Convert the data, or use a model with such a likelihood."
    )


def values_of(levels: Whole, count: int, dtype: str, form: int) -> NDArray[Any]:
    """The values of these levels."""
    found = levels.astype(dtype)
    return found / np.dtype(dtype).type(count - 1) if form == SHARES else found
