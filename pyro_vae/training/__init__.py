"""Training: one function, `fit`, the only user of SVI, optimizers and the param store."""

from .checkpoint import Checkpoint
from .epoch import StopTraining
from .fit import fit
from .fitted import Fit
from .nonfinite import NonFiniteLoss
from .optimizer import OneOptimizer, adam

__all__ = ["Checkpoint", "Fit", "NonFiniteLoss", "OneOptimizer", "StopTraining", "adam", "fit"]
