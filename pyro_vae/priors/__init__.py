"""Priors p(z): modules that, when called, return a distribution with batch () and event (D,)."""

import types
import typing

from .autoregressive import AutoregressivePrior as AutoregressivePrior
from .autoregressive_flow import AutoregressiveFlow as AutoregressiveFlow
from .bernoulli import BernoulliPrior as BernoulliPrior
from .categorical import CategoricalPrior as CategoricalPrior
from .coupling_flow import CouplingFlow as CouplingFlow
from .diagonal_normal import DiagonalNormal as DiagonalNormal
from .dirichlet import DirichletPrior as DirichletPrior
from .exemplar import ExemplarPrior as ExemplarPrior
from .flat import FlatPrior as FlatPrior
from .gaussian_mixture import GaussianMixture as GaussianMixture
from .laplace import LaplacePrior as LaplacePrior
from .lars import LARS as LARS
from .logistic_normal import LogisticNormalPrior as LogisticNormalPrior
from .spline_flow import SplineFlow as SplineFlow
from .standard_normal import StandardNormal as StandardNormal
from .student_t import StudentTPrior as StudentTPrior
from .uniform_sphere import UniformSphere as UniformSphere
from .vamp import VampPrior as VampPrior
from .von_mises_fisher import VonMisesFisherPrior as VonMisesFisherPrior

if not typing.TYPE_CHECKING:  # which knows it from the imports
    __all__ = [name for name in dir() if not (name.startswith("_") or isinstance(globals()[name], types.ModuleType))]
