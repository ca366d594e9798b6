"""Estimators of log p(x), the only part of the library that says "log p(x)"."""

from .annealed import AnnealedLogMarginal, annealed_log_marginal
from .importance import log_marginal
from .result import LogMarginal

__all__ = ["AnnealedLogMarginal", "LogMarginal", "annealed_log_marginal", "log_marginal"]
