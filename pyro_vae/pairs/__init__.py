"""Model/guide pairs of any kind: their modules, state, sites, scores; what must hold of them; guides made from guides.

A pair is two callables: bound methods of an ``nn.Module``, of a ``PyroModule``, or plain functions that use
``pyro.module`` and ``pyro.param``. Nothing in this room imports from another.
"""

from .prior_where_inactive import prior_where_inactive
from .refined import refined
from .widened import widened

__all__ = ["prior_where_inactive", "refined", "widened"]
