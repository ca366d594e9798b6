"""Model/guide pairs: each a final class with two plain methods, ``model(x)`` and ``guide(x)``."""

from .semi_amortized import SemiAmortizedVAE
from .vae import VAE

__all__ = ["VAE", "SemiAmortizedVAE"]
