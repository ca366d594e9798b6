"""All that this room uses of torch and Pyro beyond their public names, so that an upgrade breaks one file.

Seen in torch 2.14.1 and pyro-ppl 1.9.2; ``tests/compiled/test_torch_private.py`` has a test of each.
"""

from __future__ import annotations

import contextlib
import logging
import platform
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor, nn
from torch._guards import TracingContext, tracing
from torch._subclasses import FakeTensorMode
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import get_proxy_mode, make_fx

__all__ = ["make_fx"]  # runs a function and records its tensor operations

# Operations that read a number from a GPU, and so make the host wait; a CUDA graph cannot hold them.
aten = torch.ops.aten
READS_FROM_GPU = (aten._linalg_check_errors, aten._local_scalar_dense, aten.multinomial, aten._linalg_eigh)
CAST = aten._to_copy.default
ACCUMULATES = "torch::autograd::AccumulateGrad"  # name of the node of a leaf in autograd's graph


def can_be_captured(module: GraphModule) -> bool:
    """Whether a CUDA graph can hold these operations."""
    return not any(getattr(node.target, "overloadpacket", None) in READS_FROM_GPU for node in module.graph.nodes)


def handlers() -> list[Any]:
    """Pyro's effect handlers that are active now, the outermost first."""
    return _PYRO_STACK


def only_captures_params(handler: Any) -> bool:
    """Whether a handler is one of Pyro's that collect parameters and change nothing."""
    return isinstance(handler, TraceMessenger) and handler.param_only


@contextmanager
def without_value_checks() -> Iterator[None]:
    """Checks that read values, also of distributions built earlier, are off while recording."""
    checks = [
        (torch.distributions.Distribution, "_validate_sample", lambda self, value: None),
        (pyro.util, "torch_isnan", lambda value: False),
        (pyro.util, "torch_isinf", lambda value: False),
    ]
    settings = [name for name in pyro.settings.get() if name.startswith("validate_")]
    kept = [getattr(owner, name) for owner, name, _ in checks]
    try:
        for owner, name, replacement in checks:
            setattr(owner, name, replacement)
        with pyro.settings.context(**dict.fromkeys(settings, False)):
            yield
    finally:
        for (owner, name, _), original in zip(checks, kept, strict=True):
            setattr(owner, name, original)


def is_recording() -> bool:
    """Whether `make_fx` is at work: then values cannot be looked at, and other libraries' operations are not seen."""
    return get_proxy_mode() is not None


@contextmanager
def shapes_noted_once() -> Iterator[None]:
    """The shapes of all results that `make_fx` notes belong to one mode; by default it makes one for each result, which
    takes nearly as long as all else."""
    with tracing(TracingContext(FakeTensorMode(allow_fallback_kernels=True))):
        yield


def held_tensors(module: GraphModule) -> set[str]:
    """Names of the tensors that a recorded graph holds as attributes."""
    return {*module._parameters, *module._buffers}


def entries_of(module: nn.Module) -> list[dict[str, Any]]:
    """The dicts in which a module keeps its attributes, parameters, buffers and submodules."""
    return [vars(module), module._parameters, module._buffers, module._modules]


def linear_by_onednn(left: Tensor, right: Tensor) -> Tensor:
    """left @ right; oneDNN's linear layer takes the right one transposed, in any layout."""
    return torch.ops.mkldnn._linear_pointwise(left, right.t(), None, "none", [], "")


@contextmanager
def without_its_advice() -> Iterator[None]:
    """What torch's compiler warns of and still does itself is no warning here: where warnings are errors, nothing would
    be compiled. TensorFloat-32 is the user's own choice."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", message="TensorFloat32|The CUDA Graph is empty")
        warnings.filterwarnings("ignore", module=r"torch\._(inductor|functorch|dynamo)")
        yield


def begin_cuda_step() -> None:
    """Tell the compiler's CUDA graphs that the results of the call before are not needed any more."""
    if "torch._inductor.cudagraph_trees" not in sys.modules:
        with without_its_advice():
            from torch._inductor import cudagraph_trees  # noqa: F401 (its first import warns)
    torch.compiler.cudagraph_mark_step_begin()


def compiled_module(
    module: GraphModule, inputs: Sequence[Tensor], options: dict[str, Any]
) -> Callable[..., list[Tensor]]:
    """The graph as code of torch's compiler, with random numbers as in eager torch; no setting is changed, and little
    said. It is kept on disk, where a second run finds it.

    Args:
        inputs: those of the first call; all later ones must be of their kinds.
        options: of the compiler, besides those of all graphs.
    """
    options = {"fallback_random": True} | options
    # Its warnings are of what costs a few seconds at most, such as a CUDA toolkit without a GPU.
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    validation = pyro.settings.get("validate_distributions_torch")  # the compiler switches it off
    with (
        contextlib.ExitStack() as afterwards,
        pyro.settings.context(validate_distributions_torch=validation),
        without_its_advice(),
    ):
        afterwards.callback(logger.setLevel, level)
        from torch import _inductor  # takes a second or two
        from torch.fx.experimental.symbolic_shapes import ShapeEnv

        is_x86, has_amx = platform.machine() in ("x86_64", "AMD64"), torch.cpu._is_amx_tile_supported()
        if is_x86 and not has_amx and _inductor.config.cpp.vec_isa_ok is None:
            # Trying out which instructions the C++ compiler knows takes six seconds, once per machine. One that can
            # compile torch's headers knows AVX-512; AMX is younger than some of them.
            options = options | {"cpp.vec_isa_ok": True}
        # Without an environment of shapes, nothing would be kept on disk. Without torch.compile around it, no guards
        # are checked at each call: whoever calls knows the kinds of its inputs.
        with tracing(TracingContext(FakeTensorMode(shape_env=ShapeEnv()))):
            return _inductor.compile(module, list(inputs), options)


def cause(error: Exception) -> Exception:
    """The error behind one of torch's compiler, whose own first line says nothing."""
    return getattr(error, "inner_exception", error)


def lacks_compiler(error: Exception) -> bool:
    """Whether an error of torch's compiler says that there is no C++ compiler."""
    return type(cause(error)).__name__ == "InvalidCxxCompiler"
