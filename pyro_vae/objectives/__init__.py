"""What is trained: Pyro ELBO objects (``--objective`` names Pyro's own and those here), and their KL weight."""

import types
import typing

from .kl_weights import KLWarmup as KLWarmup

if not typing.TYPE_CHECKING:  # which knows it from the imports
    __all__ = [name for name in dir() if not (name.startswith("_") or isinstance(globals()[name], types.ModuleType))]
