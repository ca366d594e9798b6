"""Priors p(z): modules that, when called, return a distribution with batch () and event (D,)."""

from .flat import FlatPrior
from .flow import FlowPrior
from .gaussian_mixture import GaussianMixture
from .standard_normal import StandardNormal
from .vamp import VampPrior

__all__ = ["FlatPrior", "FlowPrior", "GaussianMixture", "StandardNormal", "VampPrior"]
