"""Training: one function, `fit`, the only user of SVI, optimizers and the param store."""

from .fit import fit
from .fitted import Fit
from .optimizer import OneOptimizer, adam
from .steps import NonFiniteLoss

__all__ = ["Fit", "NonFiniteLoss", "OneOptimizer", "adam", "fit"]
