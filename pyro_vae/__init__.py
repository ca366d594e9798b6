"""Deep latent-variable models as Pyro model/guide pairs, with log p(x) and its error."""

from . import data
from .compare import Comparison, compare
from .compiled import CompiledELBO
from .encoders import (
    IAF,
    FullRankGaussian,
    GaussianEncoder,
    HouseholderFlow,
    LowRankGaussian,
    MixtureEncoder,
    PlanarFlow,
    StudentTEncoder,
    SylvesterFlow,
    refined,
)
from .evidence import (
    AnnealedLogMarginal,
    BidirectionalGap,
    LogMarginal,
    annealed_log_marginal,
    bidirectional,
    log_marginal,
)
from .generate import reconstruct, sample
from .likelihoods import Bernoulli, DiscretizedLogistic, Gaussian
from .models import VAE, SemiAmortizedVAE
from .networks import MLP, ConvDecoder, ConvEncoder, GatedMLP
from .objectives import KLWarmup
from .optimizer import OneOptimizer, adam
from .priors import FlowPrior, GaussianMixture, StandardNormal, VampPrior
from .train import Fit, NonFiniteLoss, fit

__all__ = [
    "IAF",
    "MLP",
    "VAE",
    "AnnealedLogMarginal",
    "Bernoulli",
    "BidirectionalGap",
    "Comparison",
    "CompiledELBO",
    "ConvDecoder",
    "ConvEncoder",
    "DiscretizedLogistic",
    "Fit",
    "FlowPrior",
    "FullRankGaussian",
    "GatedMLP",
    "Gaussian",
    "GaussianEncoder",
    "GaussianMixture",
    "HouseholderFlow",
    "KLWarmup",
    "LogMarginal",
    "LowRankGaussian",
    "MixtureEncoder",
    "NonFiniteLoss",
    "OneOptimizer",
    "PlanarFlow",
    "SemiAmortizedVAE",
    "StandardNormal",
    "StudentTEncoder",
    "SylvesterFlow",
    "VampPrior",
    "adam",
    "annealed_log_marginal",
    "bidirectional",
    "compare",
    "data",
    "fit",
    "log_marginal",
    "reconstruct",
    "refined",
    "sample",
]
