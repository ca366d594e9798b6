"""Continuous Bernoulli likelihood."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from ..distributions.means import inner, invert
from ..networks import Shape
from .likelihood import Likelihood

NEAR = 0.3  # below, series in u = |logit| / 2 replace formulas that would cancel; their next terms are below 2e-11


class TiltedUniform(TorchDistribution):
    """p(x) = exp(h x) h / (exp(h) - 1) on [0, 1]: the continuous Bernoulli with logits h.

    Written in the logits: `dist.ContinuousBernoulli` goes through probabilities, which float32 clips (0.2 nats off at
    h = 20) and cannot tell from 1/2 near 0 (a mean of 0.5 at h = 0.004).
    """

    arg_constraints: Any = {"logits": constraints.real}  # noqa: RUF012 (the supertype declares it loosely)
    support = constraints.unit_interval

    def __init__(self, logits: Tensor, validate_args: bool | None = None) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        u, is_near = self._half()
        far, near = torch.where(is_near, 1.0, u), torch.where(is_near, u, 0.0)
        series = near / 3 - near**3 / 45 + 2 * near**5 / 945 - near**7 / 4725
        return 0.5 + 0.5 * self.logits.sign() * torch.where(is_near, series, 1 / torch.tanh(far) - 1 / far)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> TiltedUniform:
        return TiltedUniform(self.logits.expand(batch_shape), self._validate_args)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        shape = self._extended_shape(sample_shape)
        v = torch.rand(shape, dtype=self.logits.dtype, device=self.logits.device)
        slope = self.logits.abs().clamp(min=torch.finfo(v.dtype).tiny)
        distance = (-torch.log1p(v * torch.expm1(-slope)) / slope).clamp(0, 1)  # from the likelier end
        return torch.where(self.logits > 0, 1 - distance, distance)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        # log[(exp(h) - 1) / h] = h/2 + log(sinh(u) / u)
        u, is_near = self._half()
        far, near = torch.where(is_near, 1.0, u), torch.where(is_near, u, 0.0)
        log_sinh = far + torch.log(-torch.expm1(-2 * far)) - torch.log(2 * far)
        series = near**2 / 6 - near**4 / 180 + near**6 / 2835 - near**8 / 37800
        return self.logits * (value - 0.5) - torch.where(is_near, series, log_sinh)

    def _half(self) -> tuple[Tensor, Tensor]:
        u = self.logits.abs() / 2
        return u, u < NEAR


class ContinuousBernoulli(Likelihood):
    """Grey values in [0, 1] as a density, one feature each: where people put grey pixels under a Bernoulli.

    p(x|z) = prod_d C(h_d) p_d^x_d (1 - p_d)^(1 - x_d), p = sigmoid(h), with the normalizer C that a Bernoulli lacks. At
    zero features it is uniform. A density: it is compared with probabilities of grey levels only for dequantized data,
    by `bits_per_dim`.

    Args:
        event_shape: shape of one x.
        mean: mean of the training data, of shape event_shape (between 0.001 and 0.999): where the mean starts instead
            of at 1/2.

    Reference:
        Loaiza-Ganem, Cunningham 2019, "The continuous Bernoulli: fixing a pervasive error in variational autoencoders".

    Example:
        >>> ContinuousBernoulli(3)(torch.zeros(3)).log_prob(torch.rand(3))
        tensor(0.)
    """

    def __init__(self, event_shape: Shape, mean: Tensor | None = None) -> None:
        super().__init__(event_shape)
        # Means near 0 and 1 take large logits: their hyperbolic arcsine, which is evenly spaced, grows slowly.
        self.start_at(mean, lambda mean: invert(lambda s: TiltedUniform(s.sinh()).mean, inner(mean), bound=8.0).sinh())

    def forward(self, features: Tensor) -> dist.Distribution:
        return TiltedUniform(features + self.bias).to_event(len(self.event_shape))
