"""Likelihoods p(x|z): modules that turn decoder features into a distribution over x."""

from ..data import dequantize
from .bernoulli import Bernoulli
from .beta import Beta
from .binomial import Binomial
from .categorical import Categorical
from .continuous_bernoulli import ContinuousBernoulli
from .discretized_gaussian import DiscretizedGaussian
from .discretized_logistic import DiscretizedLogistic
from .discretized_logistic_mixture import DiscretizedLogisticMixture
from .gaussian import Gaussian
from .laplace import Laplace
from .likelihood import Likelihood
from .low_rank_gaussian import LowRankGaussian
from .masked import Masked, observed
from .negative_binomial import NegativeBinomial
from .pixel_cnn import PixelCNN
from .poisson import Poisson
from .student_t import StudentT
from .von_mises import VonMises
from .zero_inflated_negative_binomial import ZeroInflatedNegativeBinomial

__all__ = [
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "ContinuousBernoulli",
    "DiscretizedGaussian",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Gaussian",
    "Laplace",
    "Likelihood",
    "LowRankGaussian",
    "Masked",
    "NegativeBinomial",
    "PixelCNN",
    "Poisson",
    "StudentT",
    "VonMises",
    "ZeroInflatedNegativeBinomial",
    "dequantize",
    "observed",
]
