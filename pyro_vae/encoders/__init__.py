"""Encoders q(z|x): modules that turn x into a distribution over z."""

from .bernoulli import BernoulliEncoder
from .categorical import CategoricalEncoder
from .dirichlet import DirichletEncoder
from .gaussian import GaussianEncoder
from .logistic_normal import LogisticNormalEncoder
from .von_mises_fisher import VonMisesFisherEncoder

__all__ = [
    "BernoulliEncoder",
    "CategoricalEncoder",
    "DirichletEncoder",
    "GaussianEncoder",
    "LogisticNormalEncoder",
    "VonMisesFisherEncoder",
]
