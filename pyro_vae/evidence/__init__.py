"""Estimators of log p(x), the only part of the library that says "log p(x)"."""

from .annealed import annealed_log_marginal
from .bidirectional import BidirectionalGap, bidirectional
from .bits import bits_per_dim
from .comparison import Comparison, compare
from .doubts import HeavyTail
from .importance import log_marginal
from .measured import Measured
from .result import LogMarginal

__all__ = [
    "BidirectionalGap",
    "Comparison",
    "HeavyTail",
    "LogMarginal",
    "Measured",
    "annealed_log_marginal",
    "bidirectional",
    "bits_per_dim",
    "compare",
    "log_marginal",
]
