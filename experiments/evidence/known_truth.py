"""Pairs whose log p(x) is known, and whose guides are bad: what an estimate right by default gets right."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

POINTS = 4  # data points of each pair


class Known(NamedTuple):
    """A pair, some data, and their log p(x), in nats, float64."""

    model: Callable[..., Any]
    guide: Callable[..., Any]
    x: Tensor
    log_prob: Tensor


def linear_gaussian() -> Known:
    """10 latents, 12 observed dimensions, a closed form; the guide is off by half a unit, and too narrow."""
    latent_dim, noise = 10, 0.5
    weight = torch.randn(12, latent_dim, generator=torch.Generator().manual_seed(2)) / 2
    covariance = torch.linalg.inv(torch.eye(latent_dim) + weight.T @ weight / noise**2)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(latent_dim), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight.T, noise).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            mean = x @ (covariance @ weight.T / noise**2).T
            pyro.sample("z", dist.Normal(mean + 0.5, 0.7 * covariance.diagonal().sqrt()).to_event(1))

    evidence = weight.double() @ weight.double().T + noise**2 * torch.eye(12).double()
    truth = torch.distributions.MultivariateNormal(torch.zeros(12).double(), evidence)
    x = truth.sample((POINTS,)).float()
    return Known(model, guide, x, truth.log_prob(x.double()))


def two_modes() -> Known:
    """x ~ Normal((z_0^2, z_0 + z_1), 0.3), two latents: a posterior with two modes, the truth by quadrature. The guide
    sits on one."""

    def mean(z: Tensor) -> Tensor:
        return torch.stack([z[..., 0].square(), z.sum(-1)], -1)

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(mean(z), 0.3).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            root = x[:, 0].clamp(min=0.01).sqrt()
            pyro.sample("z", dist.Normal(torch.stack([root, x[:, 1] - root], -1), 0.25).to_event(1))

    x = torch.tensor([[1.0, 0.3], [1.4, -0.2], [0.8, 0.0], [1.8, 0.5]])
    line, step = torch.linspace(-7, 7, 1401, dtype=torch.float64), 0.01
    grid = torch.cartesian_prod(line, line)
    prior = dist.Normal(torch.zeros(2).double(), 1.0).to_event(1).log_prob(grid)
    likelihood = dist.Normal(mean(grid), 0.3).to_event(1)
    truth = [(prior + likelihood.log_prob(point.double())).logsumexp(0) + 2 * math.log(step) for point in x]
    return Known(model, guide, x, torch.stack(truth))


def heavy_tails() -> Known:
    """z and x both Student's t with 3 degrees of freedom, the truth by quadrature; the guide is Gaussian."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.StudentT(3.0, 0.0, 1.0))
            pyro.sample("x", dist.StudentT(3.0, z, 1.0), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 2, 0.6))

    x, z = torch.tensor([0.0, 1.0, 2.0, 4.0]), torch.linspace(-1000, 1000, 2_000_001).double()
    prior = dist.StudentT(3.0, 0.0, 1.0).log_prob(z)
    truth = [(prior + dist.StudentT(3.0, z, 1.0).log_prob(v)).logsumexp(0) + math.log(1e-3) for v in x.double()]
    return Known(model, guide, x, torch.stack(truth))


def funnel() -> Known:
    """A scale and the three latents that it scales, the truth by quadrature over the scale; the guide is too narrow."""

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            scale = pyro.sample("scale", dist.LogNormal(0.0, 0.7))
            z = pyro.sample("z", dist.Normal(torch.zeros(3), scale[..., None]).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.4).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("scale", dist.LogNormal(torch.zeros(len(x)), 0.4))
            pyro.sample("z", dist.Normal(x, 0.3).to_event(1))

    x = torch.randn(POINTS, 3, generator=torch.Generator().manual_seed(3))
    log_scale = torch.linspace(-8, 8, 20_001).double()
    spread = (log_scale.mul(2).exp() + 0.16).sqrt()[:, None, None]
    log_joint = dist.Normal(0.0, 0.7).log_prob(log_scale)[:, None] + dist.Normal(0.0, spread).log_prob(x.double()).sum(
        -1
    )
    return Known(model, guide, x, log_joint.logsumexp(0) + math.log(16 / 20_000))


def five_of_forty() -> Known:
    """40 latents of which 5 matter, correlated in the posterior, a closed form; a guide that knows nothing of x."""
    strength = torch.tensor([1.0] * 5 + [0.02] * 35)
    weight = torch.randn(20, 40, generator=torch.Generator().manual_seed(1)) * strength

    def model(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(40), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight.T, 0.5).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 40), 0.5).to_event(1))

    evidence = (weight @ weight.T + 0.25 * torch.eye(20)).double()
    truth = torch.distributions.MultivariateNormal(torch.zeros(20).double(), evidence)
    x = truth.sample((POINTS,)).float()
    return Known(model, guide, x, truth.log_prob(x.double()))


KNOWN: dict[str, Callable[[], Known]] = {
    "linear-Gaussian, guide off and narrow": linear_gaussian,
    "two modes, guide on one": two_modes,
    "heavy tails, Gaussian guide": heavy_tails,
    "funnel, narrow guide": funnel,
    "40 latents, 5 active, guide knows nothing": five_of_forty,
}
