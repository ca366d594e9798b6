"""Encoders q(z|x): modules that turn x into a distribution over z."""

import types
import typing

from .bernoulli import BernoulliEncoder as BernoulliEncoder
from .categorical import CategoricalEncoder as CategoricalEncoder
from .dirichlet import DirichletEncoder as DirichletEncoder
from .full_rank import FullRankEncoder as FullRankEncoder
from .gaussian import GaussianEncoder as GaussianEncoder
from .gaussian_mixture import MixtureEncoder as MixtureEncoder
from .householder import HouseholderFlow as HouseholderFlow
from .iaf import IAF as IAF
from .logistic_normal import LogisticNormalEncoder as LogisticNormalEncoder
from .low_rank import LowRankEncoder as LowRankEncoder
from .planar import PlanarFlow as PlanarFlow
from .point import PointEncoder as PointEncoder
from .student_t import StudentTEncoder as StudentTEncoder
from .sylvester import SylvesterFlow as SylvesterFlow
from .von_mises_fisher import VonMisesFisherEncoder as VonMisesFisherEncoder
from .zero_imputed import ZeroImputed as ZeroImputed

if not typing.TYPE_CHECKING:  # which knows it from the imports
    __all__ = [name for name in dir() if not (name.startswith("_") or isinstance(globals()[name], types.ModuleType))]
