"""Parameters of a run that belong to no module: those that its model makes by ``pyro.param``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..pairs.state import with_store

NAME = "params.safetensors"


def save_params(folder: Path, state: dict[str, Tensor]) -> None:
    """Write the parameters among a state of `fit` that belong to no module, unconstrained; no file where none does."""
    if params := {name.removeprefix("param."): t for name, t in state.items() if name.startswith("param.")}:
        safetensors.torch.save_file(params, folder / NAME)


def load_params(folder: Path, module: Any, device: torch.device) -> None:
    """Let the methods model and guide of a module run with the parameters of `save_params`, on a device.

    Raises:
        ValueError: the file is damaged.
    """
    if not (folder / NAME).exists():
        return
    try:
        params = safetensors.torch.load_file(folder / NAME, device=str(device))
    except safetensors.SafetensorError as error:
        raise ValueError(f"Expected parameters in {folder / NAME}; got an error: {error}. Train again.") from error
    module.model, module.guide = with_store(module.model, module.guide, {"params": params, "constraints": {}})
