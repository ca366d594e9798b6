"""Estimators of log p(x), the only part of the library that says "log p(x)"."""

from .annealed import annealed_log_marginal
from .bidirectional import BidirectionalGap, bidirectional
from .importance import log_marginal
from .proposals import widened
from .result import HeavyTail, LogMarginal

__all__ = [
    "BidirectionalGap",
    "HeavyTail",
    "LogMarginal",
    "annealed_log_marginal",
    "bidirectional",
    "log_marginal",
    "widened",
]
