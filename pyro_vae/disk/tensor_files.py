"""Tensors out of the bytes of a safetensors file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import safetensors
import safetensors.torch
from torch import Tensor


def tensors_of(content: bytes, path: Path) -> dict[str, Tensor]:
    """The tensors in the bytes of a file, which is whole; their header can ask for no more memory than there are
    bytes."""
    try:
        return safetensors.torch.load(content)
    except (safetensors.SafetensorError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"Expected tensors in {path}; got an error: {error}. Make the file again.") from error


def require_finite(tensors: Mapping[str, Tensor], names: Iterable[str], path: Path) -> None:
    """Raise a ValueError if one of these tensors, where it is there, holds NaN or an infinite number."""
    wrong = [name for name in names if name in tensors and not tensors[name].isfinite().all()]
    if wrong:
        raise ValueError(f"Expected finite numbers in {path}; got NaN or infinite ones in {', '.join(wrong[:5])}.")
