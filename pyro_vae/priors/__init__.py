"""Priors p(z): modules that, when called, return a distribution with batch () and event (D,)."""

from .autoregressive import AutoregressivePrior
from .autoregressive_flow import AutoregressiveFlow
from .coupling_flow import CouplingFlow
from .diagonal_normal import DiagonalNormal
from .exemplar import ExemplarPrior
from .gaussian_mixture import GaussianMixture
from .laplace import LaplacePrior
from .lars import LARS
from .spline_flow import SplineFlow
from .standard_normal import StandardNormal
from .student_t import StudentTPrior
from .vamp import VampPrior

__all__ = [
    "LARS",
    "AutoregressiveFlow",
    "AutoregressivePrior",
    "CouplingFlow",
    "DiagonalNormal",
    "ExemplarPrior",
    "GaussianMixture",
    "LaplacePrior",
    "SplineFlow",
    "StandardNormal",
    "StudentTPrior",
    "VampPrior",
]
