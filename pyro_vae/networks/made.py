"""Masked networks: each output sees the dimensions before its own."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.nn import AutoRegressiveNN
from torch import nn


def masked_network(dim: int, num_outputs: int, hidden: Sequence[int]) -> nn.Module:
    """A network (..., D) -> (..., num_outputs, D) whose outputs for d depend on the inputs before d alone (MADE)."""
    if dim < 2:
        raise ValueError(
            f"Expected dim >= 2, since each dimension depends on those before it; got {dim}. Use GaussianMixture "
            f"instead."
        )
    if not hidden or min(hidden) < dim:
        raise ValueError(
            f"Expected hidden layers at least as wide as the {dim} latent dimensions; got {list(hidden)}. "
            f"Give for instance hidden=({4 * dim}, {4 * dim})."
        )
    return AutoRegressiveNN(dim, list(hidden), param_dims=[num_outputs], permutation=torch.arange(dim))
