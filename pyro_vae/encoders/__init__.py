"""Encoders q(z|x): modules that turn x into a distribution over z."""

from .bernoulli import BernoulliEncoder
from .categorical import CategoricalEncoder
from .dirichlet import DirichletEncoder
from .full_rank import FullRankEncoder
from .gaussian import GaussianEncoder
from .gaussian_mixture import MixtureEncoder
from .householder import HouseholderFlow
from .iaf import IAF
from .logistic_normal import LogisticNormalEncoder
from .low_rank import LowRankEncoder
from .planar import PlanarFlow
from .point import PointEncoder
from .student_t import StudentTEncoder
from .sylvester import SylvesterFlow
from .von_mises_fisher import VonMisesFisherEncoder
from .zero_imputed import ZeroImputed

__all__ = [
    "IAF",
    "BernoulliEncoder",
    "CategoricalEncoder",
    "DirichletEncoder",
    "FullRankEncoder",
    "GaussianEncoder",
    "HouseholderFlow",
    "LogisticNormalEncoder",
    "LowRankEncoder",
    "MixtureEncoder",
    "PlanarFlow",
    "PointEncoder",
    "StudentTEncoder",
    "SylvesterFlow",
    "VonMisesFisherEncoder",
    "ZeroImputed",
]
