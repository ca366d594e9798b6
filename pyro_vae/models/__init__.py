"""Model/guide pairs: each a final class with two plain methods, ``model(x)`` and ``guide(x)``."""

from types import ModuleType as _Module

from .semi_amortized import SemiAmortizedVAE as SemiAmortizedVAE
from .vae import VAE as VAE

__all__ = [name for name in dir() if not (name.startswith("_") or isinstance(globals()[name], _Module))]
