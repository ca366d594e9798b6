"""Deep latent-variable models as Pyro model/guide pairs, with log p(x) and its error."""

from . import data, encoders, likelihoods, models, networks, plots, priors
from .compare import Comparison, compare
from .compiled import CompiledELBO
from .diagnostics import Diagnostics, Measured, diagnose
from .encoders import *  # noqa: F403 (the open sets say themselves what is theirs)
from .evidence import (
    BidirectionalGap,
    HeavyTail,
    LogMarginal,
    annealed_log_marginal,
    bidirectional,
    log_marginal,
    widened,
)
from .gaps import InferenceGaps, inference_gaps
from .generate import decode, encode, interpolate, reconstruct, sample
from .inactive import prior_where_inactive
from .likelihoods import *  # noqa: F403
from .models import *  # noqa: F403
from .networks import *  # noqa: F403
from .objectives import KLWarmup
from .optimizer import OneOptimizer, adam
from .priors import *  # noqa: F403
from .train import Fit, NonFiniteLoss, fit
from .version import __version__

__all__ = [
    "BidirectionalGap",
    "Comparison",
    "CompiledELBO",
    "Diagnostics",
    "Fit",
    "HeavyTail",
    "InferenceGaps",
    "KLWarmup",
    "LogMarginal",
    "Measured",
    "NonFiniteLoss",
    "OneOptimizer",
    "__version__",
    "adam",
    "annealed_log_marginal",
    "bidirectional",
    "compare",
    "data",
    "decode",
    "diagnose",
    "encode",
    "fit",
    "inference_gaps",
    "interpolate",
    "log_marginal",
    "plots",
    "prior_where_inactive",
    "reconstruct",
    "sample",
    "widened",
]
__all__ += encoders.__all__
__all__ += likelihoods.__all__
__all__ += models.__all__
__all__ += networks.__all__
__all__ += priors.__all__
