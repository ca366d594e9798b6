"""All that this room uses of torch's optimizers beyond their public names.

Seen in torch 2.14.1; ``tests/training/test_optimizer_private.py`` has a test of each.
"""

from __future__ import annotations

from torch import Tensor
from torch.optim import Optimizer

MOMENTS = ("exp_avg", "exp_avg_sq", "step")  # what Adam keeps for each parameter


def skip_step_if(optimizer: Optimizer, flag: Tensor) -> None:
    """Let a fused optimizer change nothing in its next step if a flag () is true, which the host need not wait for.

    It is how torch's GradScaler skips a step.
    """
    optimizer.found_inf = flag.float()  # type: ignore[attr-defined]
