"""Probabilistic PCA as a model/guide pair: scikit-learn knows its log p(x), and its posterior has a closed form."""

from __future__ import annotations

import math

import numpy as np
import pyro
import pyro.distributions as dist
import torch
from sklearn.decomposition import PCA
from torch import Tensor


class ProbabilisticPCA:
    """z ~ Normal(0, I), x ~ Normal(W z + mean, s^2 I) with the parameters of a fitted PCA."""

    def __init__(self, pca: PCA, scale: float, dtype: torch.dtype = torch.float64) -> None:
        noise = pca.noise_variance_
        self.weight = torch.from_numpy(pca.components_.T * np.sqrt(pca.explained_variance_ - noise)).to(
            dtype
        )  # (64, D)
        self.mean, self.noise = torch.from_numpy(pca.mean_).to(dtype), torch.tensor(math.sqrt(noise), dtype=dtype)
        # The components are orthogonal: so is the posterior's precision, I + W'W / s^2, diagonal.
        self.variance = 1 / (1 + self.weight.square().sum(0) / noise)
        self.scale = scale

    def model(self, x: Tensor) -> None:
        """p(x, z)"""
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros_like(self.variance), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ self.weight.T + self.mean, self.noise).to_event(1), obs=x)

    def guide(self, x: Tensor) -> None:
        """The exact posterior, its scale multiplied."""
        loc = (x - self.mean) @ self.weight * self.variance / self.noise**2
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(loc, self.scale * self.variance.sqrt()).to_event(1))
