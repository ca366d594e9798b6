"""Deep latent-variable models as Pyro model/guide pairs, with log p(x) and its error."""

from . import data
from .compare import Comparison, compare
from .compiled import CompiledELBO
from .encoders import GaussianEncoder
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
from .models import VAE
from .networks import MLP, ConvDecoder, ConvEncoder, GatedMLP
from .objectives import KLWarmup
from .optimizer import OneOptimizer, adam
from .priors import (
    LARS,
    AutoregressiveFlow,
    AutoregressivePrior,
    CouplingFlow,
    DiagonalNormal,
    ExemplarPrior,
    GaussianMixture,
    LaplacePrior,
    SplineFlow,
    StandardNormal,
    StudentTPrior,
    VampPrior,
)
from .train import Fit, NonFiniteLoss, fit

__all__ = [
    "LARS",
    "MLP",
    "VAE",
    "AnnealedLogMarginal",
    "AutoregressiveFlow",
    "AutoregressivePrior",
    "Bernoulli",
    "BidirectionalGap",
    "Comparison",
    "CompiledELBO",
    "ConvDecoder",
    "ConvEncoder",
    "CouplingFlow",
    "DiagonalNormal",
    "DiscretizedLogistic",
    "ExemplarPrior",
    "Fit",
    "GatedMLP",
    "Gaussian",
    "GaussianEncoder",
    "GaussianMixture",
    "KLWarmup",
    "LaplacePrior",
    "LogMarginal",
    "NonFiniteLoss",
    "OneOptimizer",
    "SplineFlow",
    "StandardNormal",
    "StudentTPrior",
    "VampPrior",
    "adam",
    "annealed_log_marginal",
    "bidirectional",
    "compare",
    "data",
    "fit",
    "log_marginal",
    "reconstruct",
    "sample",
]
