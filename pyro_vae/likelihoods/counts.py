"""What likelihoods of counts share: the link from features to rates, and where training starts."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import constraints

from .likelihood import Likelihood


class CountLikelihood(Likelihood):
    """Counts with rates exp(feature). Abstract: a subclass gives ``forward`` and starts at `log_mean` of the data."""

    support: constraints.Constraint = constraints.nonnegative_integer
    accepts = "counts 0, 1, 2, ..."
    cure = (
        "Give counts as floats that are whole numbers (array files: uint8 is divided by 255, so convert it with "
        "`.astype('float32')`), or take Gaussian for other values."
    )


def log_mean(mean: Tensor) -> Tensor:
    """Of mean counts, at least 0.001."""
    return mean.clamp(min=1e-3).log()


def bounded_exp(log_value: Tensor, *, bound: float = 15.0) -> Tensor:
    """exp, with its argument kept between -bound and bound: rates from 3e-7 to 3e6, all of them safe in float32."""
    return log_value.clamp(-bound, bound).exp()
