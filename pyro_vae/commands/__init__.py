"""The commands of the command line: each a module with ``add_options`` and ``run``."""

from . import compare, diagnose, evaluate, interpolate, manifold, reconstruct, sample, train, traverse

__all__ = ["compare", "diagnose", "evaluate", "interpolate", "manifold", "reconstruct", "sample", "train", "traverse"]
