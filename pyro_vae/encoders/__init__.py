"""Encoders q(z|x): modules that turn x into a distribution over z."""

from .full_rank import FullRankEncoder
from .gaussian import GaussianEncoder
from .householder import HouseholderFlow
from .iaf import IAF
from .low_rank import LowRankEncoder
from .mixture import MixtureEncoder
from .planar import PlanarFlow
from .refined import refined
from .student_t import StudentTEncoder
from .sylvester import SylvesterFlow
from .zero_imputed import ZeroImputed

__all__ = [
    "IAF",
    "FullRankEncoder",
    "GaussianEncoder",
    "HouseholderFlow",
    "LowRankEncoder",
    "MixtureEncoder",
    "PlanarFlow",
    "StudentTEncoder",
    "SylvesterFlow",
    "ZeroImputed",
    "refined",
]
