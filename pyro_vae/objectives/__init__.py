"""What is trained: Pyro ELBO objects, and the weight on their KL term."""

from .kl_weights import KLWarmup

__all__ = ["KLWarmup"]
