"""Mixtures whose density is fast enough for hundreds of components."""

from __future__ import annotations

import math
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints

from .validation_private import validated_like


def mixture(logits: Tensor, components: dist.Distribution) -> dist.Distribution:
    """The mixture of C components (batch (C,), event (D,)) with weights softmax(logits), logits (C,)."""
    base = components.base_dist if isinstance(components, dist.Independent) else None
    if isinstance(base, dist.Normal) and components.reinterpreted_batch_ndims == 1:
        return DiagonalGaussianMixture(logits, base.loc, base.scale)
    return dist.MixtureSameFamily(dist.Categorical(logits=logits), components)


class DiagonalGaussianMixture(dist.TorchDistribution):
    """sum_c w_c Normal(m_c, diag(s_c^2)), the same for all of its batch; event (D,).

    The squared distances of all points to all components are matrix products, so that nothing of size points x
    components x D is ever made, which is what makes `MixtureSameFamily` slow with hundreds of components. The products
    are in double precision, since they subtract large numbers from each other where a component is narrow.

    Args:
        logits: (C,).
        loc, scale: (C, D).
    """

    arg_constraints: Any = {  # noqa: RUF012
        "logits": constraints.real_vector,
        "loc": constraints.independent(constraints.real, 2),
        "scale": constraints.independent(constraints.positive, 2),
    }
    support = constraints.real_vector

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor, validate_args: bool | None = None) -> None:
        self.logits, self.loc, self.scale = logits, loc, scale
        super().__init__(torch.Size(), loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> DiagonalGaussianMixture:
        new = self._get_checked_instance(DiagonalGaussianMixture, _instance)
        new.logits, new.loc, new.scale = self.logits, self.loc, self.scale
        super(DiagonalGaussianMixture, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        return validated_like(new, self)

    @torch.no_grad()
    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        shape = torch.Size(sample_shape) + self.batch_shape
        component = torch.distributions.Categorical(logits=self.logits).sample(shape)
        return torch.normal(self.loc[component], self.scale[component])

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        points, loc = value.double(), self.loc.double()
        precision = self.scale.double().pow(-2)
        # |(z - m) / s|^2 = z^2 . s^-2 - 2 z . (m s^-2) + m^2 . s^-2, for all points and components: (..., C)
        distance = points.square() @ precision.T - 2 * points @ (loc * precision).T + (loc.square() * precision).sum(-1)
        constant = self.logits.log_softmax(-1) - self.scale.log().sum(-1) - 0.5 * len(loc.T) * math.log(2 * math.pi)
        log_prob = (constant - 0.5 * distance.to(value.dtype)).logsumexp(-1)
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))
