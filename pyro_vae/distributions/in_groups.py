"""Vectors that consist of groups of entries, one for each categorical variable."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions.constraints import Constraint


def in_groups(value: Tensor, num_categories: int) -> Tensor:
    """View (..., V C) as (..., V, C)."""
    return value.unflatten(-1, (-1, num_categories))


class Groups(Constraint):
    """Vectors of V C entries, each C of which obey a constraint: one-hot vectors, or points of the simplex.

    Example:
        >>> two_of_three = Groups(torch.distributions.constraints.one_hot, 3)
        >>> two_of_three.check(torch.tensor([1.0, 0, 0, 0, 1, 0])), two_of_three.check(torch.zeros(6))
        (tensor(True), tensor(False))
    """

    event_dim = 1

    def __init__(self, base_constraint: Constraint, num_categories: int) -> None:
        self.base_constraint, self.num_categories = base_constraint, num_categories

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return bool(self.base_constraint.is_discrete)

    def check(self, value: Tensor) -> Tensor:
        if value.shape[-1] % self.num_categories:
            return torch.zeros(value.shape[:-1], dtype=torch.bool, device=value.device)
        return self.base_constraint.check(in_groups(value, self.num_categories)).all(-1)

    def __repr__(self) -> str:
        return f"Groups({self.base_constraint}, num_categories={self.num_categories})"
