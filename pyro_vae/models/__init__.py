"""Model/guide pairs: each a final class with two plain methods, ``model(x)`` and ``guide(x)``."""

import types
import typing

from .semi_amortized import SemiAmortizedVAE as SemiAmortizedVAE
from .vae import VAE as VAE

if not typing.TYPE_CHECKING:  # which knows it from the imports
    __all__ = [name for name in dir() if not (name.startswith("_") or isinstance(globals()[name], types.ModuleType))]
