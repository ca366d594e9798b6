"""Pyro at compiled speed: tensor operations recorded once, and run compiled from then on."""

from .elbo import CompiledELBO
from .recorded import Recorded

__all__ = ["CompiledELBO", "Recorded"]
