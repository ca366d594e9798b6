"""Priors p(z): modules that, when called, return a distribution with batch () and event (D,)."""

from .bernoulli import BernoulliPrior
from .categorical import CategoricalPrior
from .dirichlet import DirichletPrior
from .flow import FlowPrior
from .gaussian_mixture import GaussianMixture
from .logistic_normal import LogisticNormalPrior
from .standard_normal import StandardNormal
from .uniform_sphere import UniformSphere
from .vamp import VampPrior
from .von_mises_fisher import VonMisesFisherPrior

__all__ = [
    "BernoulliPrior",
    "CategoricalPrior",
    "DirichletPrior",
    "FlowPrior",
    "GaussianMixture",
    "LogisticNormalPrior",
    "StandardNormal",
    "UniformSphere",
    "VampPrior",
    "VonMisesFisherPrior",
]
