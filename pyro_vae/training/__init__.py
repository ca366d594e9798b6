"""Training: one function, `fit`, around Pyro's SVI, and what it goes on from and gives back."""

from .checkpoint import Checkpoint
from .epoch import StopTraining
from .fit import fit
from .fitted import Fit
from .nonfinite import NonFiniteLoss
from .optimizer import OneOptimizer, adam

__all__ = ["Checkpoint", "Fit", "NonFiniteLoss", "OneOptimizer", "StopTraining", "adam", "fit"]
