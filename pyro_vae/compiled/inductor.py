"""Torch's compiler, as recorded graphs want it: random numbers as in eager torch, no settings changed, quiet."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

import pyro
from torch import Tensor
from torch.fx import GraphModule

from .torch_private import READS_FROM_GPU, inductor_compile


def compiled_module(
    module: GraphModule, inputs: Sequence[Tensor], options: dict[str, Any]
) -> Callable[..., list[Tensor]]:
    """The graph as compiled code, with random numbers as in eager torch; kept on disk, where a second run finds it.

    Args:
        inputs: those of the first call; all later ones must be of their kinds.
        options: of the compiler, besides those of all graphs.
    """
    # Its warnings are of what costs a few seconds at most, such as a CUDA toolkit without a GPU.
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    validation = pyro.settings.get("validate_distributions_torch")  # the compiler switches it off
    try:
        with pyro.settings.context(validate_distributions_torch=validation):
            return inductor_compile(module, inputs, {"fallback_random": True} | options)
    finally:
        logger.setLevel(level)


def can_be_captured(module: GraphModule) -> bool:
    """Whether a CUDA graph can hold these operations."""
    return not any(getattr(node.target, "overloadpacket", None) in READS_FROM_GPU for node in module.graph.nodes)
