"""Priors p(z): modules that, when called, return a distribution with batch () and event (D,)."""

from .flow import FlowPrior
from .gaussian_mixture import GaussianMixture
from .standard_normal import StandardNormal
from .vamp import VampPrior

__all__ = ["FlowPrior", "GaussianMixture", "StandardNormal", "VampPrior"]
