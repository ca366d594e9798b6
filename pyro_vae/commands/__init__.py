"""The commands of the command line: each a module with ``add_options`` and ``run``."""

from . import compare, evaluate, reconstruct, sample, train

__all__ = ["compare", "evaluate", "reconstruct", "sample", "train"]
