"""Deep latent-variable models as Pyro model/guide pairs, with log p(x) and its error."""

from . import data, plots
from .compare import Comparison, compare
from .compiled import CompiledELBO
from .encoders import GaussianEncoder, PointEncoder
from .evidence import (
    AnnealedLogMarginal,
    BidirectionalGap,
    LogMarginal,
    annealed_log_marginal,
    bidirectional,
    log_marginal,
)
from .generate import decode, encode, interpolate, reconstruct, sample
from .likelihoods import Bernoulli, DiscretizedLogistic, Gaussian
from .models import VAE
from .networks import MLP, ConvDecoder, ConvEncoder, GatedMLP
from .objectives import KLWarmup
from .optimizer import OneOptimizer, adam
from .priors import FlatPrior, FlowPrior, GaussianMixture, StandardNormal, VampPrior
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
    "FlatPrior",
    "FlowPrior",
    "GatedMLP",
    "Gaussian",
    "GaussianEncoder",
    "GaussianMixture",
    "KLWarmup",
    "LogMarginal",
    "NonFiniteLoss",
    "OneOptimizer",
    "PointEncoder",
    "StandardNormal",
    "VampPrior",
    "adam",
    "annealed_log_marginal",
    "bidirectional",
    "compare",
    "data",
    "decode",
    "encode",
    "fit",
    "interpolate",
    "log_marginal",
    "plots",
    "reconstruct",
    "sample",
]
