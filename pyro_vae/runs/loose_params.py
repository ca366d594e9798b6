"""Parameters of a run that belong to no module: those that its model makes by ``pyro.param``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from ..disk.tensor_files import require_finite, tensors_of
from ..disk.writing import written_whole
from ..pairs.state import with_store
from .folder import read_about, read_checked

NAME = "params.safetensors"


def save_params(folder: Path, state: dict[str, Tensor]) -> None:
    """Write the parameters among a state of `fit` that belong to no module, unconstrained; no file where none does."""
    if params := {name.removeprefix("param."): t for name, t in state.items() if name.startswith("param.")}:
        with written_whole(folder / NAME) as file:
            file.write(safetensors.torch.save(params))


def load_params(folder: Path, module: Any, device: torch.device) -> None:
    """Let the methods model and guide of a module run with the parameters of `save_params`, on a device.

    Raises:
        ValueError: the file is damaged or was changed.
    """
    if NAME not in read_about(folder)["files"]:
        return
    params = tensors_of(read_checked(folder, NAME), folder / NAME)
    require_finite(params, params, folder / NAME)
    params = {name: param.to(device) for name, param in params.items()}
    module.model, module.guide = with_store(module.model, module.guide, {"params": params, "constraints": {}})
