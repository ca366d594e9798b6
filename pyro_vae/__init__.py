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
from .likelihoods import Bernoulli, DiscretizedLogistic, Gaussian, PixelCNN
from .models import VAE
from .networks import MLP, ConvDecoder, ConvEncoder, GatedMLP, ResNetDecoder, ResNetEncoder
from .objectives import KLWarmup
from .optimizer import OneOptimizer, adam
from .priors import FlowPrior, GaussianMixture, StandardNormal, VampPrior
from .train import Fit, NonFiniteLoss, fit

__all__ = [
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
    "GatedMLP",
    "Gaussian",
    "GaussianEncoder",
    "GaussianMixture",
    "KLWarmup",
    "LogMarginal",
    "NonFiniteLoss",
    "OneOptimizer",
    "PixelCNN",
    "ResNetDecoder",
    "ResNetEncoder",
    "StandardNormal",
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
