"""Masks inside distributions, which Pyro keeps in a private attribute."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor


def mask_inside(fn: Any) -> Tensor | None:
    """Which values of a distribution count, by `.mask` of it or of what it is made of, of a shape that broadcasts to
    that of its values; None where none is left out."""
    found: Tensor | None = None
    while hasattr(fn, "base_dist"):
        if isinstance(fn, dist.MaskedDistribution):
            mask = torch.as_tensor(fn._mask)
            mask = mask.reshape(mask.shape + (1,) * fn.event_dim if mask.dim() else ())
            found = mask if found is None else found & mask
        fn = fn.base_dist
    return None if found is None or found.all() else found
