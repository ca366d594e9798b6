"""Encoders q(z|x): modules that turn x into a distribution over z."""

from .gaussian import GaussianEncoder
from .zero_imputed import ZeroImputed

__all__ = ["GaussianEncoder", "ZeroImputed"]
