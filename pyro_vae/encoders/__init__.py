"""Encoders q(z|x): modules that turn x into a distribution over z."""

from .gaussian import GaussianEncoder
from .point import PointEncoder

__all__ = ["GaussianEncoder", "PointEncoder"]
