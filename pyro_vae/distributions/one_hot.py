"""Categorical variables as one-hot vectors, several side by side in one event."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from .in_groups import Groups, in_groups
from .relaxed import RelaxedBernoulli, RelaxedOneHot
from .validation_private import validated_like

MOST_STATES = 10_000  # that are enumerated


def one_hot(logits: Tensor, temperature: float | None) -> dist.Distribution:
    """V categorical variables of logits (..., V, C): relaxed at a temperature, exactly one-hot with None."""
    return OneHot(logits) if temperature is None else RelaxedOneHot(_positive(temperature), logits)


def bernoulli(logits: Tensor, temperature: float | None) -> dist.Distribution:
    """D binary variables of logits (..., D): relaxed at a temperature, exactly 0 or 1 with None."""
    fn = dist.Bernoulli(logits=logits) if temperature is None else RelaxedBernoulli(_positive(temperature), logits)
    return fn.to_event(1)


def _positive(temperature: float) -> float:
    if not 0 < temperature < math.inf:
        raise ValueError(
            f"Expected a finite temperature > 0; got {temperature}. For draws of 0 and 1 in training too, give None."
        )
    return temperature


def one_hot_shape(dim: int, num_categories: int | None) -> tuple[int, int]:
    """(V, C): the categorical variables that fill dim dimensions, one of dim categories by default."""
    count = dim if num_categories is None else num_categories
    if count < 2 or dim < count or dim % count:
        raise ValueError(
            f"Expected a number of latent dimensions divisible by num_categories >= 2; got {dim} and {count}. For V "
            f"variables of C categories give V C dimensions, such as {max(1, dim // max(2, count)) * max(2, count)}."
        )
    return dim // count, count


class OneHot(dist.TorchDistribution):
    """V independent categorical variables, each drawn as a one-hot vector of C entries; event (V C,).

    Args:
        logits: (..., V, C).

    Example:
        >>> OneHot(torch.zeros(5, 2, 3)).sample().shape, len(OneHot(torch.zeros(5, 2, 3)).enumerate_support())
        (torch.Size([5, 6]), 9)
    """

    arg_constraints: Any = {"logits": constraints.independent(constraints.real_vector, 1)}  # noqa: RUF012
    has_enumerate_support = True

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape[:-2], torch.Size([logits.shape[-2:].numel()]), validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        return Groups(constraints.one_hot, self.logits.shape[-1])

    @property
    def mean(self) -> Tensor:
        return self.logits.softmax(-1).flatten(-2)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> OneHot:
        return validated_like(OneHot(self.logits.expand(*batch_shape, -1, -1), validate_args=False), self)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        category = dist.Categorical(logits=self.logits, validate_args=False).sample(sample_shape)[..., None]
        # Not functional.one_hot, which reads values and so cannot be recorded.
        categories = torch.arange(self.logits.shape[-1], device=category.device)
        return (category == categories).to(self.logits.dtype).flatten(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        return (self.logits.log_softmax(-1) * in_groups(value, self.logits.shape[-1])).sum((-2, -1))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All C^V states, (C^V, *batch, V C), or with batch dimensions of 1.

        Raises:
            ValueError: more than 10,000 states.
        """
        variables, categories = self.logits.shape[-2:]
        if categories**variables > MOST_STATES:
            raise ValueError(
                f"Expected at most {MOST_STATES:,} states to enumerate; got {categories} ** {variables}. Use fewer "
                f"variables, or train with a temperature."
            )
        states = torch.tensor(list(itertools.product(range(categories), repeat=variables)), device=self.logits.device)
        rows = torch.eye(categories, dtype=self.logits.dtype, device=self.logits.device)[states].flatten(-2)
        rows = rows.reshape(len(rows), *[1] * len(self.batch_shape), -1)
        return rows.expand(-1, *self.batch_shape, -1) if expand else rows
