"""The commands of the command line: each a module with ``add_options`` and ``run``."""

from . import compare, evaluate, interpolate, manifold, reconstruct, sample, train, traverse

__all__ = ["compare", "evaluate", "interpolate", "manifold", "reconstruct", "sample", "train", "traverse"]
