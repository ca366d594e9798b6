"""Missing values: log p of the observed ones alone, under any likelihood."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn
from torch.distributions import constraints

from ..distributions.validation_private import is_validated
from .likelihood import Likelihood


def observed(distribution: Any, mask: Tensor) -> Any:
    """The distribution of the observed values alone: its log_prob is the marginal one of the values under the mask.

    The mask stands inside the distribution, where every estimator sees it (`poutine.mask` is not seen by the unscaled
    log-probabilities that importance weights are made of). Missing values must hold something in the support; what it
    is does not matter. Draws are complete.

    Args:
        distribution: of a likelihood, or any other with independent values, batch (..., B).
        mask: true where a value is observed; broadcasts to (..., B, *event_shape).

    Raises:
        TypeError: the values depend on each other in a way that this function does not know.

    Example:
        >>> px = dist.Normal(torch.zeros(2, 3), 1.0).to_event(1)
        >>> observed(px, torch.tensor([True, False, True])).log_prob(torch.zeros(2, 3))  # -log(2 pi)
        tensor([-1.8379, -1.8379])
    """
    shape = torch.broadcast_shapes(mask.shape, distribution.event_shape)
    mask = mask.bool().expand(shape)
    if hasattr(distribution, "observed"):
        return distribution.observed(mask)
    if not isinstance(distribution, dist.Independent):
        raise TypeError(
            f"Expected independent values, or a distribution with a method observed(mask); got "
            f"{type(distribution).__name__}. Use another likelihood, or give this one that method, for the marginal."
        )
    base = distribution.base_dist
    if base.event_dim:  # one-hot vectors: one value each
        parts = mask.flatten(-base.event_dim)
        mask = parts.all(-1)
        if is_validated(base) and not (mask == parts.any(-1)).all():
            raise ValueError(
                "Expected vectors that are observed or missing as a whole; got some with a part of them. Mask all "
                "entries of a vector, or none."
            )
    return base.mask(mask).to_event(distribution.reinterpreted_batch_ndims)


class Missing(constraints.Constraint):
    """A support in which values may be missing, marked by nan."""

    def __init__(self, base_constraint: Any, filler: Tensor) -> None:
        self.base_constraint, self.filler = base_constraint, filler
        super().__init__()

    @property
    def is_discrete(self) -> bool:  # type: ignore[override]
        return bool(self.base_constraint.is_discrete)

    @property
    def event_dim(self) -> int:  # type: ignore[override]
        return int(self.base_constraint.event_dim)

    def check(self, value: Tensor) -> Tensor:
        return self.base_constraint.check(_filled(value, self.filler))


class ObservedPart(TorchDistribution):
    """A distribution that takes nan in a value for missing: log_prob is that of all others. Draws are complete."""

    arg_constraints: Any = {}  # noqa: RUF012 (the supertype declares it loosely)

    def __init__(self, base_dist: Any, filler: Tensor) -> None:
        self.base_dist, self.filler = base_dist, filler
        super().__init__(base_dist.batch_shape, base_dist.event_shape)

    @constraints.dependent_property
    def support(self) -> Missing:
        return Missing(self.base_dist.support, self.filler)

    @property
    def mean(self) -> Tensor:
        return self.base_dist.mean

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> ObservedPart:
        return ObservedPart(self.base_dist.expand(batch_shape), self.filler)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        return self.base_dist.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        return observed(self.base_dist, ~value.isnan()).log_prob(_filled(value, self.filler))


def _filled(value: Tensor, filler: Tensor) -> Tensor:
    return torch.where(value.isnan(), filler.to(value.device), value)


class Masked(Likelihood):
    """Any likelihood for data with missing values, which are nan: log p(x) is that of the observed ones.

    p(x_observed | z), the missing values integrated out: as right as the likelihood where they are missing at random.
    Under a coupled `DiscretizedLogisticMixture` pixels are missing with all their channels, under one-hot `Categorical`
    with the whole vector. The encoder cannot take nan: wrap it in `ZeroImputed`, which shows it zeros. Bits per
    dimension count the observed values of each x.

    Args:
        likelihood: for complete data; its features are those of this one.

    Raises:
        TypeError: the marginal of some of its values is not known (`PixelCNN`).

    Reference:
        Nazabal, Olmos, Ghahramani, Valera 2020, "Handling incomplete heterogeneous data using VAEs".

    Example:
        >>> from pyro_vae.likelihoods import Bernoulli
        >>> px = Masked(Bernoulli(3))(torch.zeros(3))
        >>> px.log_prob(torch.tensor([1.0, torch.nan, 0.0]))  # 2 log(1/2)
        tensor(-1.3863)
    """

    accepts_missing = True  # `fit` lets nan pass

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__(likelihood.event_shape)
        features = torch.zeros(likelihood.feature_shape, device=likelihood.device)
        observed(likelihood(features), torch.ones(self.event_shape, device=features.device))  # or it cannot be
        self.likelihood = likelihood
        self.feature_shape = likelihood.feature_shape
        self.filler = nn.Buffer(_any_value(likelihood), persistent=False)

    def forward(self, features: Tensor) -> dist.Distribution:
        return ObservedPart(self.likelihood(features), self.filler)

    def __repr__(self) -> str:
        return f"Masked({self.likelihood!r})"


def _any_value(likelihood: Likelihood) -> Tensor:
    """Some x in the support, to stand where values are missing."""
    zeros = torch.zeros(likelihood.event_shape, device=likelihood.device)
    half = zeros + 0.5
    last = zeros.clone()
    last[..., -1] = 1  # a one-hot vector, or an exposure
    support = likelihood.support
    for x in (zeros, half, last):
        if support.check(x).all():
            return x
    raise ValueError(
        f"Expected a likelihood whose support holds 0, 1/2 or a one-hot vector; got {likelihood}. "
        "Scale or shift its data."
    )
