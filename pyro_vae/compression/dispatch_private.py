"""The one private name of torch that this room uses: the mode that sees each tensor operation before it runs."""

from __future__ import annotations

from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["TorchDispatchMode"]
