"""Torch's compiler, as recorded graphs want it: quick to start and quiet."""

from __future__ import annotations

import logging
import platform
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from torch import Tensor
from torch.fx import GraphModule

aten = torch.ops.aten

# What reads a number from a GPU, and so makes the host wait; a CUDA graph cannot hold it.
READING = (aten._linalg_check_errors, aten._local_scalar_dense, aten.multinomial, aten._linalg_eigh)

# They warn of what costs a few seconds at most: a graph that cannot be kept on disk, a CUDA toolkit without a GPU;
# torch 2.9 also of sizes that it takes for fixed, as they are, and on a CPU of what a CUDA graph would not hold.
CHATTY = (
    "torch._functorch._aot_autograd.autograd_cache",
    "torch._inductor.codecache",
    "torch._inductor.utils.__perf_hints",
    "torch.fx.experimental.symbolic_shapes",
    "torch.utils.cpp_extension",
)


def compiled_module(
    module: GraphModule, inputs: Sequence[Tensor], options: dict[str, Any]
) -> Callable[..., list[Tensor]]:
    """The graph as compiled code, with random numbers as in eager torch; kept on disk, where a second run finds it.

    Args:
        inputs: those of the first call; all later ones must be of their kinds.
        options: of the compiler, besides those of all graphs.
    """
    with _quiet():
        from torch import _inductor  # takes a second or two
    from torch._guards import TracingContext, tracing
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    options = {"fallback_random": True} | options
    is_x86, has_amx = platform.machine() in ("x86_64", "AMD64"), torch.cpu._is_amx_tile_supported()
    if is_x86 and not has_amx and _inductor.config.cpp.vec_isa_ok is None:
        # Trying out which instructions the C++ compiler knows takes six seconds, once per machine. One that can compile
        # torch's headers knows AVX-512; AMX is younger than some of them.
        options["cpp.vec_isa_ok"] = True
    # Without an environment of shapes, nothing would be kept on disk. Without torch.compile around it, no guards are
    # checked at each call: whoever calls knows the kinds of its inputs.
    context = tracing(TracingContext(FakeTensorMode(shape_env=ShapeEnv())))
    validation = pyro.settings.get("validate_distributions_torch")  # the compiler switches it off
    with _quiet(), pyro.settings.context(validate_distributions_torch=validation), context:
        run: Callable[..., list[Tensor]] = _inductor.compile(module, list(inputs), options)
    return run


def can_be_captured(module: GraphModule) -> bool:
    """Whether a CUDA graph can hold these operations."""
    return not any(getattr(node.target, "overloadpacket", None) in READING for node in module.graph.nodes)


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in CHATTY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        # What torch calls deprecated and still uses itself: where warnings are errors, nothing would be compiled.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
