"""Estimators of log p(x), the only part of the library that says "log p(x)"."""

from .annealed import AnnealedLogMarginal, annealed_log_marginal
from .bidirectional import BidirectionalGap, bidirectional
from .importance import log_marginal
from .result import LogMarginal

__all__ = [
    "AnnealedLogMarginal",
    "BidirectionalGap",
    "LogMarginal",
    "annealed_log_marginal",
    "bidirectional",
    "log_marginal",
]
