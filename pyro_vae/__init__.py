"""Deep latent-variable models as Pyro model/guide pairs, with log p(x) and its error."""

from . import data
from .compare import Comparison, compare
from .compiled import CompiledELBO
from .diagnostics import Diagnostics, Measured, diagnose, prior_where_inactive
from .encoders import GaussianEncoder
from .evidence import (
    AnnealedLogMarginal,
    BidirectionalGap,
    LogMarginal,
    annealed_log_marginal,
    bidirectional,
    log_marginal,
)
from .gaps import InferenceGaps, inference_gaps
from .generate import reconstruct, sample
from .likelihoods import Bernoulli, DiscretizedLogistic, Gaussian
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
    "BidirectionalGap",
    "Comparison",
    "CompiledELBO",
    "ConvDecoder",
    "ConvEncoder",
    "Diagnostics",
    "DiscretizedLogistic",
    "Fit",
    "FlowPrior",
    "GatedMLP",
    "Gaussian",
    "GaussianEncoder",
    "GaussianMixture",
    "InferenceGaps",
    "KLWarmup",
    "LogMarginal",
    "Measured",
    "NonFiniteLoss",
    "OneOptimizer",
    "StandardNormal",
    "VampPrior",
    "adam",
    "annealed_log_marginal",
    "bidirectional",
    "compare",
    "data",
    "diagnose",
    "fit",
    "inference_gaps",
    "log_marginal",
    "prior_where_inactive",
    "reconstruct",
    "sample",
]
