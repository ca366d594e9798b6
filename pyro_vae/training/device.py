"""The device of a name."""

from __future__ import annotations

import torch

CPU = torch.device("cpu")


def choose_device(device: str | torch.device, *, otherwise: torch.device = CPU, movable: bool = True) -> torch.device:
    """The device of a name; "auto" is CUDA where there is one, else another.

    Args:
        otherwise: what "auto" means without CUDA.
        movable: whether what runs there can be moved to it; else "auto" is ``otherwise``.

    Raises:
        ValueError: this machine has no such device.

    Example:
        >>> choose_device("cpu")
        device(type='cpu')
    """
    if device == "auto":
        return torch.device("cuda") if movable and torch.cuda.is_available() else otherwise
    try:
        torch.zeros((), device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"Expected device cpu, cuda or auto; got {str(device)!r}: this machine has no such device."
        ) from error
    return torch.device(device)
