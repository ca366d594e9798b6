"""Deep latent-variable models as Pyro model/guide pairs, with log p(x) and its error."""

from . import data
from .compare import Comparison, compare
from .compiled import CompiledELBO
from .encoders import GaussianEncoder, ZeroImputed
from .evidence import (
    AnnealedLogMarginal,
    BidirectionalGap,
    LogMarginal,
    annealed_log_marginal,
    bidirectional,
    log_marginal,
)
from .generate import reconstruct, sample
from .likelihoods import (
    Bernoulli,
    Beta,
    Binomial,
    Categorical,
    ContinuousBernoulli,
    DiscretizedGaussian,
    DiscretizedLogistic,
    DiscretizedLogisticMixture,
    Gaussian,
    Laplace,
    LowRankGaussian,
    Masked,
    NegativeBinomial,
    Poisson,
    StudentT,
    VonMises,
    ZeroInflatedNegativeBinomial,
    bits_per_dim,
    dequantize,
    observed,
)
from .models import VAE
from .networks import MLP, ConvDecoder, ConvEncoder, GatedMLP
from .objectives import KLWarmup
from .optimizer import OneOptimizer, adam
from .priors import FlowPrior, GaussianMixture, StandardNormal, VampPrior
from .train import Fit, NonFiniteLoss, fit

__all__ = [
    "MLP",
    "VAE",
    "AnnealedLogMarginal",
    "Bernoulli",
    "Beta",
    "BidirectionalGap",
    "Binomial",
    "Categorical",
    "Comparison",
    "CompiledELBO",
    "ContinuousBernoulli",
    "ConvDecoder",
    "ConvEncoder",
    "DiscretizedGaussian",
    "DiscretizedLogistic",
    "DiscretizedLogisticMixture",
    "Fit",
    "FlowPrior",
    "GatedMLP",
    "Gaussian",
    "GaussianEncoder",
    "GaussianMixture",
    "KLWarmup",
    "Laplace",
    "LogMarginal",
    "LowRankGaussian",
    "Masked",
    "NegativeBinomial",
    "NonFiniteLoss",
    "OneOptimizer",
    "Poisson",
    "StandardNormal",
    "StudentT",
    "VampPrior",
    "VonMises",
    "ZeroImputed",
    "ZeroInflatedNegativeBinomial",
    "adam",
    "annealed_log_marginal",
    "bidirectional",
    "bits_per_dim",
    "compare",
    "data",
    "dequantize",
    "fit",
    "log_marginal",
    "observed",
    "reconstruct",
    "sample",
]
