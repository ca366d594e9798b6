"""The density of a chain of invertible steps, shared by the flows that bring their own mathematics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import pyro.distributions as dist
import torch
from torch import Tensor

from .density import Density


class Step(Protocol):
    """An invertible map of vectors, e (..., D) -> z (..., D)."""

    def __call__(self, e: Tensor) -> Tensor:
        """From e to z."""

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """From z back to e, and log |det de/dz| (...)."""


def chain(steps: Sequence[Any], loc: Tensor) -> dist.Distribution:
    """The distribution of z = flip(s_n(... flip(s_1(e)))), e ~ Normal(0, I); the flips let dimensions take turns.

    Unlike `TransformedDistribution`, it takes point and Jacobian from one pass through each step's network.

    Args:
        steps: each a `Step`.
        loc: zeros (D,), of the dtype and on the device of the steps.
    """
    base = dist.Normal(loc, 1.0).to_event(1)

    def log_density(z: Tensor) -> Tensor:
        total = torch.zeros_like(z[..., 0])
        for step in reversed(steps):
            z, log_det = step.inverse(z.flip(-1))
            total = total + log_det
        return base.log_prob(z) + total

    def draw(shape: torch.Size) -> Tensor:
        z: Tensor = base.sample(shape)
        for step in steps:
            z = step(z).flip(-1)
        return z

    return Density(len(loc), log_density, draw)
