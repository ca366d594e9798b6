"""Continuous relaxations of categorical and binary variables, whose draws keep their logarithms."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints
from torch.nn import functional

from .in_groups import Groups, in_groups
from .validation_private import validated_like

# A draw close to a corner rounds to it: float32 has no 1 - 1e-9, where a density that is infinite at the corner may be
# asked for. A draw therefore carries its logarithm (or log odds) along under this name, for whichever relaxed density
# looks at it next: guide and prior see the same number. Tensors from elsewhere go by their values. torch's own relaxed
# distributions keep it for themselves: a saturated draw then has an exact density under the guide, a rounded one under
# the prior, and a rate that is wrong by many nats.
KEPT = "_pyro_vae_logarithm"


def _exponential(like: Tensor, shape: torch.Size) -> Tensor:
    return like.new_empty(shape).exponential_().clamp(min=torch.finfo(like.dtype).tiny)


class RelaxedOneHot(dist.TorchDistribution):
    """V independent Concrete (Gumbel-softmax) variables of C entries; event (V C,), each group on the simplex.

    z = softmax((logits + Gumbel noise) / temperature)

    Args:
        temperature: above 0; towards 0 the draws become one-hot vectors of `OneHot`.
        logits: (..., V, C).

    Reference:
        Maddison, Mnih, Teh 2017, "The Concrete distribution"; Jang, Gu, Poole 2017, "Categorical reparameterization
        with Gumbel-softmax".

    Example:
        >>> z = RelaxedOneHot(0.5, torch.zeros(5, 2, 3)).rsample()
        >>> z.shape, bool((z.unflatten(-1, (2, 3)).sum(-1) - 1).abs().max() < 1e-6)
        (torch.Size([5, 6]), True)
    """

    arg_constraints: Any = {"logits": constraints.independent(constraints.real_vector, 1)}  # noqa: RUF012
    has_rsample = True

    def __init__(self, temperature: float, logits: Tensor, validate_args: bool | None = None) -> None:
        self.temperature, self.logits = temperature, logits
        super().__init__(logits.shape[:-2], torch.Size([logits.shape[-2:].numel()]), validate_args=validate_args)

    @property
    def support(self) -> constraints.Constraint:
        return Groups(constraints.simplex, self.logits.shape[-1])

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> RelaxedOneHot:
        new = RelaxedOneHot(self.temperature, self.logits.expand(*batch_shape, -1, -1), validate_args=False)
        return validated_like(new, self)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        gumbel = -_exponential(self.logits, torch.Size(sample_shape) + self.logits.shape).log()
        log_z = ((self.logits + gumbel) / self.temperature).log_softmax(-1)
        z = log_z.exp().flatten(-2)
        setattr(z, KEPT, log_z)
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        count, t = self.logits.shape[-1], self.temperature
        logits, log_z = self.logits.log_softmax(-1), getattr(value, KEPT, None)
        if log_z is None:
            log_z = in_groups(value, count).clamp(min=torch.finfo(value.dtype).tiny).log()
        numerator = (logits - (t + 1) * log_z).sum(-1) - count * (logits - t * log_z).logsumexp(-1)
        return (numerator + math.lgamma(count) + (count - 1) * math.log(t)).sum(-1)


class RelaxedBernoulli(dist.TorchDistribution):
    """A binary Concrete variable: z = sigmoid((logits + logistic noise) / temperature), event ().

    Args:
        temperature: above 0; towards 0 the draws become those of a Bernoulli.
        logits: (...).

    Reference:
        Maddison, Mnih, Teh 2017, "The Concrete distribution".

    Example:
        >>> RelaxedBernoulli(1.0, torch.zeros(())).log_prob(torch.tensor(0.3))  # uniform
        tensor(0.)
    """

    arg_constraints: Any = {"logits": constraints.real}  # noqa: RUF012
    support = constraints.unit_interval
    has_rsample = True

    def __init__(self, temperature: float, logits: Tensor, validate_args: bool | None = None) -> None:
        self.temperature, self.logits = temperature, logits
        super().__init__(logits.shape, torch.Size(), validate_args=validate_args)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> RelaxedBernoulli:
        new = RelaxedBernoulli(self.temperature, self.logits.expand(batch_shape), validate_args=False)
        return validated_like(new, self)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        shape = torch.Size(sample_shape) + self.logits.shape
        logistic = _exponential(self.logits, shape).log() - _exponential(self.logits, shape).log()
        log_odds = (self.logits + logistic) / self.temperature
        z = log_odds.sigmoid()
        setattr(z, KEPT, log_odds)
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        log_odds = getattr(value, KEPT, None)
        if log_odds is None:
            log_odds = value.logit(eps=torch.finfo(value.dtype).eps / 2)
        noise = self.temperature * log_odds - self.logits
        log_density = math.log(self.temperature) + functional.logsigmoid(noise) + functional.logsigmoid(-noise)
        return log_density + functional.softplus(log_odds) + functional.softplus(-log_odds)  # - log z (1 - z)
