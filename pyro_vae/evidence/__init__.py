"""Estimators of log p(x), the only part of the library that says "log p(x)"."""

from .importance import log_marginal
from .result import LogMarginal

__all__ = ["LogMarginal", "log_marginal"]
