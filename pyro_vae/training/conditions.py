"""What training runs in."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from torch import nn

from ..compiled.matmul import products_in_tf32
from ..pairs.contexts import seeded, train_mode


@contextmanager
def training_conditions(modules: dict[str, nn.Module], *, seed: int | None, tf32: bool) -> Iterator[Any]:
    """Training mode, gradients, a random stream, TensorFloat-32 if wanted; everything is as before afterwards.

    Yields:
        The state of a param store of its own, which holds what is trained.
    """
    with (
        torch.enable_grad(),
        seeded(seed),
        pyro.get_param_store().scope() as trained,
        train_mode(modules),
        products_in_tf32(tf32),
        warnings.catch_warnings(),
    ):
        # Pyro warns of a loss that is not finite; here it is an error that says more.
        warnings.filterwarnings("ignore", message="Encountered (NaN|\\+inf|-inf)")
        yield trained
