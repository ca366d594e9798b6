"""Distributions that Pyro lacks, or has in a form that loses digits: shared by priors and encoders."""

from .bessel import bessel_ratio, log_bessel
from .log_ratio import AdditiveLogRatio
from .one_hot import OneHot, bernoulli, one_hot, one_hot_shape
from .relaxed import RelaxedBernoulli, RelaxedOneHot
from .von_mises_fisher import VonMisesFisher

__all__ = [
    "AdditiveLogRatio",
    "OneHot",
    "RelaxedBernoulli",
    "RelaxedOneHot",
    "VonMisesFisher",
    "bernoulli",
    "bessel_ratio",
    "log_bessel",
    "one_hot",
    "one_hot_shape",
]
