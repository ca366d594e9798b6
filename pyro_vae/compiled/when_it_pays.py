"""When compiling saves more time than it takes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable
from typing import Literal

import torch
from pyro.infer import ELBO
from torch import nn

from .elbo import CompiledELBO

# Seconds that recording and compiling a pair of usual size takes, at least.
COMPILE_SECONDS = 12.0

# Seconds that compiling saves in a training step, on two CPU cores: so many, and so many for each parameter and data
# point. Measured with a VAE of 650,000 parameters, plainly and compiled: 5.6 and 3.1 ms at batch size 128, 25.8 and
# 19.2 ms at 1024 on one machine, more on a newer one.
SAVED_PER_STEP, SAVED_PER_PARAMETER_AND_DATA_POINT = 1.8e-3, 7e-12


def saved_in_training(modules: Iterable[nn.Module], *, batch_size: int, num_steps: int) -> float:
    """Seconds that compiling would save in a training, roughly."""
    parameters = sum(p.numel() for module in modules for p in module.parameters())
    return num_steps * (SAVED_PER_STEP + SAVED_PER_PARAMETER_AND_DATA_POINT * parameters * batch_size)


def compile_if_worthwhile(
    elbo: ELBO,
    *,
    compile: bool | Literal["auto"],
    precision: Literal["fp32", "bf16"],
    saves: float,
    device: torch.device,
    settled: bool = False,
) -> ELBO:
    """The objective as a `CompiledELBO` where that is asked for; one that is a `CompiledELBO` stays as it is.

    Args:
        compile: "auto" compiles where it saves more seconds than it takes and the device has a compiler.
        precision: "bf16" needs a recorded graph; where compiling does not pay it runs operation by operation.
        saves: estimate of the seconds that compiling would save.
        settled: as for `CompiledELBO`.

    Raises:
        ValueError: compile or precision is none of the above, or they contradict each other.
    """
    if compile not in (True, False, "auto"):
        raise ValueError(f"Expected compile to be True, False or 'auto'; got {compile!r}.")
    if isinstance(elbo, CompiledELBO):
        return elbo
    if compile is False and precision == "bf16":
        raise ValueError("Expected compile=True or 'auto' with precision 'bf16', which needs a graph; got False.")
    pays = compile is True or (compile == "auto" and saves > COMPILE_SECONDS and _has_compiler(device))
    if pays or precision != "fp32":
        return CompiledELBO(elbo, backend="inductor" if pays else "eager", precision=precision, settled=settled)
    return elbo


def _has_compiler(device: torch.device) -> bool:
    """Whether torch.compile can work: on a CPU it needs a C++ compiler."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    return device.type == "cuda" or shutil.which(compiler) is not None
