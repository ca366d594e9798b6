"""Priors p(z): modules that, when called, return a distribution with batch () and event (D,)."""

from .autoregressive import AutoregressivePrior
from .autoregressive_flow import AutoregressiveFlow
from .bernoulli import BernoulliPrior
from .categorical import CategoricalPrior
from .coupling_flow import CouplingFlow
from .diagonal_normal import DiagonalNormal
from .dirichlet import DirichletPrior
from .exemplar import ExemplarPrior
from .flat import FlatPrior
from .gaussian_mixture import GaussianMixture
from .laplace import LaplacePrior
from .lars import LARS
from .logistic_normal import LogisticNormalPrior
from .spline_flow import SplineFlow
from .standard_normal import StandardNormal
from .student_t import StudentTPrior
from .uniform_sphere import UniformSphere
from .vamp import VampPrior
from .von_mises_fisher import VonMisesFisherPrior

__all__ = [
    "LARS",
    "AutoregressiveFlow",
    "AutoregressivePrior",
    "BernoulliPrior",
    "CategoricalPrior",
    "CouplingFlow",
    "DiagonalNormal",
    "DirichletPrior",
    "ExemplarPrior",
    "FlatPrior",
    "GaussianMixture",
    "LaplacePrior",
    "LogisticNormalPrior",
    "SplineFlow",
    "StandardNormal",
    "StudentTPrior",
    "UniformSphere",
    "VampPrior",
    "VonMisesFisherPrior",
]
