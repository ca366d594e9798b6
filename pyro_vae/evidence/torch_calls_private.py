"""All that this room uses of torch beyond its public names: calls that it looks at or answers itself.

Seen in torch 2.14.1; ``tests/evidence/test_torch_calls_private.py`` has a test of each.
"""

from __future__ import annotations

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

__all__ = ["DRAWS_DIRICHLET", "DRAWS_GAMMA", "TorchDispatchMode", "tree_iter"]

DRAWS_GAMMA = torch._standard_gamma  # what torch's distributions draw from, where it has no public function
DRAWS_DIRICHLET = torch._sample_dirichlet
