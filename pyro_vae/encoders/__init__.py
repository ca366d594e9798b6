"""Encoders q(z|x): modules that turn x into a distribution over z."""

from .gaussian import GaussianEncoder

__all__ = ["GaussianEncoder"]
