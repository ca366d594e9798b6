"""The distribution of a Gaussian draw that went through bijections with parameters of their own for each data point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from .validation_private import validated_like


class Step(Protocol):
    """A bijection of vectors (..., D), with parameters that broadcast against the leading dimensions."""

    linear: ClassVar[bool]

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """y (..., D) and log|det dy/dx| (...)."""

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """x (..., D) and log|det dy/dx| (...) there."""


class Flow(dist.TorchDistribution):
    """z = f_T(... f_1(z_0)), z_0 ~ base;  log q(z) = log base(z_0) - sum_t log|det df_t|.

    A draw is scored by what was computed for it, at no cost and without the rounding of an inverse; other points by
    inverting the steps.

    Args:
        base: distribution of z_0, event (D,).
        steps: f_1, ..., f_T.
    """

    arg_constraints: Any = {}  # noqa: RUF012
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, base: dist.Distribution, steps: Sequence[Step], validate_args: bool | None = None) -> None:
        self.base, self.steps = base, steps
        self._drawn: tuple[Tensor, Tensor, bool] | None = None
        super().__init__(base.batch_shape, base.event_shape, validate_args=validate_args)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> Flow:
        return validated_like(Flow(self.base.expand(batch_shape), self.steps, validate_args=False), self)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        z = self.base.rsample(sample_shape)
        log_prob = self.base.log_prob(z)
        for step in self.steps:
            z, log_det = step(z)
            log_prob = log_prob - log_det
        self._drawn = z, log_prob, torch.is_grad_enabled()
        return z

    @property
    def mean(self) -> Tensor:
        if not all(step.linear for step in self.steps):
            raise NotImplementedError("Expected linear steps for a mean in closed form. Average draws of rsample.")
        z: Tensor = self.base.mean
        for step in self.steps:
            z, _ = step(z)
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        if self._drawn is not None:
            drawn, log_prob, with_gradient = self._drawn
            # What was computed without gradients must not be taken for a constant where they are wanted.
            if value is drawn and (with_gradient or not torch.is_grad_enabled()):
                return log_prob
        total = torch.zeros((), dtype=value.dtype, device=value.device)
        for step in reversed(self.steps):
            value, log_det = step.inverse(value)
            total = total - log_det
        return total + self.base.log_prob(value)
