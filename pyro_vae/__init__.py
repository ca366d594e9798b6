"""Deep latent-variable models as Pyro model/guide pairs, with log p(x) and its error."""

from . import data
from .compare import Comparison, compare
from .compiled import CompiledELBO
from .encoders import (
    BernoulliEncoder,
    CategoricalEncoder,
    DirichletEncoder,
    GaussianEncoder,
    LogisticNormalEncoder,
    VonMisesFisherEncoder,
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
from .models import VAE
from .networks import MLP, ConvDecoder, ConvEncoder, GatedMLP
from .objectives import KLWarmup
from .optimizer import OneOptimizer, adam
from .priors import (
    BernoulliPrior,
    CategoricalPrior,
    DirichletPrior,
    FlowPrior,
    GaussianMixture,
    LogisticNormalPrior,
    StandardNormal,
    UniformSphere,
    VampPrior,
    VonMisesFisherPrior,
)
from .train import Fit, NonFiniteLoss, fit

__all__ = [
    "MLP",
    "VAE",
    "AnnealedLogMarginal",
    "Bernoulli",
    "BernoulliEncoder",
    "BernoulliPrior",
    "BidirectionalGap",
    "CategoricalEncoder",
    "CategoricalPrior",
    "Comparison",
    "CompiledELBO",
    "ConvDecoder",
    "ConvEncoder",
    "DirichletEncoder",
    "DirichletPrior",
    "DiscretizedLogistic",
    "Fit",
    "FlowPrior",
    "GatedMLP",
    "Gaussian",
    "GaussianEncoder",
    "GaussianMixture",
    "KLWarmup",
    "LogMarginal",
    "LogisticNormalEncoder",
    "LogisticNormalPrior",
    "NonFiniteLoss",
    "OneOptimizer",
    "StandardNormal",
    "UniformSphere",
    "VampPrior",
    "VonMisesFisherEncoder",
    "VonMisesFisherPrior",
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
