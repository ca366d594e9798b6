"""Flat prior."""

from __future__ import annotations

from typing import NoReturn

import pyro.distributions as dist
import torch
from torch import Tensor, nn
from torch.distributions import constraints

from ..arguments.at_least import at_least


class FlatPrior(nn.Module):
    """p(z) = 1 everywhere: no preference among codes, for plain autoencoders; log p(x) does not exist.

    Improper: it integrates to infinity, so nothing can be drawn from it and the model has no p(x), which `log_marginal`
    says. With `PointEncoder`, `Trace_ELBO` is exactly the reconstruction loss.

    Args:
        dim: number of latent dimensions.

    Raises:
        ValueError: dim below 1; and when something is drawn from it.

    Example:
        >>> FlatPrior(20)().log_prob(torch.randn(5, 20))
        tensor([0., 0., 0., 0., 0.])
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        at_least(1, dim=dim)
        self.dim = dim

    def forward(self) -> dist.Distribution:
        return Flat(constraints.real_vector, torch.Size(), torch.Size([self.dim]))

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Flat(dist.ImproperUniform):
    """`dist.ImproperUniform` with the device and precision of the value, and with a cure in its error."""

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(value).to(value)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> NoReturn:  # noqa: B008
        raise ValueError(
            "Expected a prior that can be drawn from; got FlatPrior, which is no distribution. An autoencoder has no "
            "samples: reconstruct, traverse or interpolate images, or train it with a prior."
        )
