"""Likelihoods p(x|z): modules that turn decoder features into a distribution over x."""

import types
import typing

from ..data import dequantize as dequantize
from .bernoulli import Bernoulli as Bernoulli
from .beta import Beta as Beta
from .binomial import Binomial as Binomial
from .categorical import Categorical as Categorical
from .continuous_bernoulli import ContinuousBernoulli as ContinuousBernoulli
from .discretized_gaussian import DiscretizedGaussian as DiscretizedGaussian
from .discretized_logistic import DiscretizedLogistic as DiscretizedLogistic
from .discretized_logistic_mixture import DiscretizedLogisticMixture as DiscretizedLogisticMixture
from .gaussian import Gaussian as Gaussian
from .laplace import Laplace as Laplace
from .likelihood import Likelihood as Likelihood
from .low_rank_gaussian import LowRankGaussian as LowRankGaussian
from .masked import Masked as Masked
from .masked import observed as observed
from .negative_binomial import NegativeBinomial as NegativeBinomial
from .pixel_cnn import PixelCNN as PixelCNN
from .poisson import Poisson as Poisson
from .student_t import StudentT as StudentT
from .von_mises import VonMises as VonMises
from .zero_inflated_negative_binomial import ZeroInflatedNegativeBinomial as ZeroInflatedNegativeBinomial

if not typing.TYPE_CHECKING:  # which knows it from the imports
    __all__ = [name for name in dir() if not (name.startswith("_") or isinstance(globals()[name], types.ModuleType))]
