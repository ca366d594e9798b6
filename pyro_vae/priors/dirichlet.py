"""Dirichlet prior."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import nn

from ..arguments.at_least import at_least
from ..arguments.positive import positive


class DirichletPrior(nn.Module):
    """p(z) = Dirichlet(a) on the simplex: proportions of topics, few of them at a time where a is small.

    Args:
        dim: number of latent dimensions D, the parts of the simplex, at least 2.
        concentration: a, the same for all parts: 1 is uniform, smaller is sparser.
        learned: whether each part learns its own, starting there.

    Raises:
        ValueError: dim below 2, or a concentration of 0 or below.

    Reference:
        Srivastava, Sutton 2017, "Autoencoding variational inference for topic models"; Joo and others 2020, "Dirichlet
        variational autoencoder".

    Example:
        >>> DirichletPrior(3)().log_prob(torch.tensor([0.2, 0.3, 0.5]))  # log 2!
        tensor(0.6931)
    """

    def __init__(self, dim: int, concentration: float = 1.0, learned: bool = False) -> None:
        super().__init__()
        at_least(2, dim=dim)  # parts of a simplex
        positive(concentration=concentration)
        self.log_concentration = nn.Parameter(torch.full((dim,), math.log(concentration)), requires_grad=learned)

    def forward(self) -> dist.Distribution:
        return dist.Dirichlet(self.log_concentration.exp())

    def extra_repr(self) -> str:
        fixed = f"concentration={self.log_concentration[0].exp():g}"
        return f"dim={len(self.log_concentration)}, {'learned=True' if self.log_concentration.requires_grad else fixed}"
