"""The commands of the command line: each a module with ``add_options`` and ``run``."""

from . import compare, diagnose, evaluate, reconstruct, sample, train

__all__ = ["compare", "diagnose", "evaluate", "reconstruct", "sample", "train"]
