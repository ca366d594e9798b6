"""Logistic-normal prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import nn

from ..arguments.at_least import at_least
from ..distributions.log_ratio import AdditiveLogRatio
from ..distributions.scale import unit_scale


class LogisticNormalPrior(nn.Module):
    """p(z) of softmax(y, 0), y a learned Gaussian with full covariance: proportions of topics that go together.

    y_d = log(z_d / z_D) ~ Normal(m, L L'): softmax with its last logit fixed at 0, which is one to one. Any Gaussian in
    log ratios has this form, whichever part stands last. Starts at m = 0, L = I.

    Args:
        dim: number of latent dimensions D, the parts of the simplex, at least 2.

    Raises:
        ValueError: dim below 2.

    Reference:
        Aitchison, Shen 1980, "Logistic-normal distributions: some properties and uses"; Blei, Lafferty 2007, "A
        correlated topic model of Science".

    Example:
        >>> LogisticNormalPrior(20)().event_shape
        torch.Size([20])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        at_least(2, dim=dim)  # parts of a simplex
        self.loc = nn.Parameter(torch.zeros(dim - 1))
        self.lower = nn.Parameter(torch.zeros(dim - 1, dim - 1))  # L, its diagonal before `unit_scale`

    def forward(self) -> dist.Distribution:
        diagonal = unit_scale(self.lower.diagonal())
        normal = dist.MultivariateNormal(self.loc, scale_tril=self.lower.tril(-1) + diagonal.diag())
        return dist.TransformedDistribution(normal, [AdditiveLogRatio()])

    def extra_repr(self) -> str:
        return f"dim={len(self.loc) + 1}"
