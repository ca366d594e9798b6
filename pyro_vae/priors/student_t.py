"""Student-t prior."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from torch import nn

from ..arguments.at_least import at_least
from ..arguments.positive import positive
from ..distributions.density import Density
from ..distributions.scale import unit_scale


class StudentTPrior(nn.Module):
    """Independent Student-t latents with learned scales: when some data points lie far out, which a normal forbids.

    p(z) = prod_d StudentT(z_d; df_d, 0, s_d)

    Args:
        dim: number of latent dimensions.
        degrees_of_freedom: df, tails as heavy as |z|^-(df + 1); the normal is the limit of large ones.
        learn_degrees_of_freedom: learn them, one for each dimension, from that start; else they are fixed.

    Raises:
        ValueError: dim below 1, or degrees_of_freedom not above 0 or infinite.

    Reference:
        Lange, Little, Taylor 1989, "Robust statistical modeling using the t distribution".

    Example:
        >>> StudentTPrior(20, degrees_of_freedom=3.0)().event_shape
        torch.Size([20])
    """

    def __init__(self, dim: int, degrees_of_freedom: float = 5.0, learn_degrees_of_freedom: bool = True) -> None:
        super().__init__()
        at_least(1, dim=dim)
        positive(degrees_of_freedom=degrees_of_freedom)
        self.raw_scale = nn.Parameter(torch.zeros(dim))
        log_df = torch.full((dim,), math.log(degrees_of_freedom))
        self.log_degrees_of_freedom = nn.Parameter(log_df) if learn_degrees_of_freedom else nn.Buffer(log_df)
        self.loc = nn.Buffer(torch.zeros(dim), persistent=False)

    def forward(self) -> dist.Distribution:
        parameters = (self.log_degrees_of_freedom.exp(), self.loc, unit_scale(self.raw_scale))
        # With many degrees of freedom, the normalizer is a small difference of large numbers.
        student = dist.StudentT(*(parameter.double() for parameter in parameters)).to_event(1)
        return Density(
            len(self.loc),
            log_density=lambda z: student.log_prob(z.double()).to(z.dtype),
            draw=lambda shape: student.sample(shape).to(self.loc.dtype),
        )

    def extra_repr(self) -> str:
        learned = isinstance(self.log_degrees_of_freedom, nn.Parameter)
        fixed = f", degrees_of_freedom={self.log_degrees_of_freedom[0].exp():g}, learn_degrees_of_freedom=False"
        return f"dim={len(self.loc)}{'' if learned else fixed}"
