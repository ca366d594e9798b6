"""When compiling saves more time than it takes."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterable
from typing import Any, Literal, TypeVar

import torch
from pyro.infer import ELBO
from torch import nn

from ..pairs.modules import Callee, modules_of
from .elbo import CompiledELBO, pair_name
from .recorded import Recorded

Target = TypeVar("Target", ELBO, Callable[..., Any])

# Seconds that recording and compiling a pair of usual size takes, at least.
COMPILE_SECONDS = 12.0
# Seconds that compiling saves, with one thread:
# in a training step, and there for each parameter and data point. Measured with a VAE of 650,000 parameters, plainly
# and compiled: 5.6 and 3.1 ms at batch size 128, 25.8 and 19.2 ms at 1024 on one machine, more on a newer one;
SAVED_PER_STEP, SAVED_PER_PARAMETER_AND_DATA_POINT = 1.8e-3, 7e-12
# for each data point and sample of log p(x): 4.0 to 7.6 us plainly, 3.7 us compiled, with the same VAE;
SAVED_PER_SAMPLE = 2e-6
# of Python, each time that a transition calls the model for a gradient.
SAVED_PER_GRADIENT = 1.5e-3


def saved_in_training(modules: Iterable[nn.Module], *, batch_size: int, num_steps: int) -> float:
    """Seconds that compiling would save in a training, roughly."""
    parameters = sum(p.numel() for module in modules for p in module.parameters())
    return num_steps * (SAVED_PER_STEP + SAVED_PER_PARAMETER_AND_DATA_POINT * parameters * batch_size)


def compile_if_worthwhile(
    target: Target,
    *,
    compile: bool | Literal["auto"],
    precision: Literal["fp32", "bf16"],
    saves: float,
    device: torch.device,
    pair: tuple[Callee, Callee] | None = None,
) -> Target:
    """An objective as a `CompiledELBO` and a function as `Recorded`, where that is asked for; either stays as it is.

    Args:
        target: a Pyro objective, or a function of tensors that is pure, as `Recorded` says.
        compile: "auto" compiles where it saves more seconds than it takes and the device has a compiler.
        precision: "bf16" needs a recorded graph; where compiling does not pay it runs operation by operation.
        saves: estimate of the seconds that compiling would save.
        pair: model and guide, that a function runs.

    Raises:
        ValueError: compile or precision is none of the above, or they contradict each other.
    """
    if compile not in (True, False, "auto"):
        raise ValueError(f"Expected compile to be True, False or 'auto'; got {compile!r}.")
    if isinstance(target, CompiledELBO | Recorded):
        return target
    if compile is False and precision == "bf16":
        raise ValueError("Expected compile=True or 'auto' with precision 'bf16', which needs a graph; got False.")
    pays = compile is True or (compile == "auto" and saves > COMPILE_SECONDS and _has_compiler(device))
    if not pays and precision == "fp32":
        return target
    backend: Literal["inductor", "eager"] = "inductor" if pays else "eager"
    if isinstance(target, ELBO):
        return CompiledELBO(target, backend=backend, precision=precision)
    modules, name = ((), None) if pair is None else (modules_of(*pair).values(), pair_name(*pair))
    return Recorded(target, modules, backend=backend, precision=precision, name=name, pure=True)


def _has_compiler(device: torch.device) -> bool:
    """Whether torch.compile can work: on a CPU it needs a C++ compiler."""
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    return device.type == "cuda" or shutil.which(compiler) is not None
