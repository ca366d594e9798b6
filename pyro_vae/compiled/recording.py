"""Record the tensor operations of one call as a graph, with the gradients, whatever Python runs on the way."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.poutine.runtime import _PYRO_STACK
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from .hoisting import split_invariant
from .inductor import can_be_captured, compiled_module

aten = torch.ops.aten


class Outcome(NamedTuple):
    """What one call gave: the loss, and the gradient of each leaf tensor it depends on."""

    loss: Tensor
    leaves: list[Tensor]
    gradients: list[Tensor]


@dataclass
class Graph:
    """Recorded operations, and where each of their inputs is found."""

    module: GraphModule
    run: Callable[..., list[Tensor]]
    inputs: list[Tensor | None]  # None where it is one of the next two
    arguments: list[tuple[int, int]]  # input, index of the argument
    params: list[tuple[int, str]]  # input, name in the param store
    kinds: list[Any]  # what each input must be
    leaves: list[int]  # the inputs that the gradients belong to
    param_sites: dict[str, None]
    on_gpu: bool
    met: bool = False  # whether it has run
    once: Callable[..., list[Tensor]] | None = None  # further inputs, from the others
    settled: list[Tensor] | None = None  # those inputs, from the first call on

    def gather(self, arguments: list[Tensor]) -> list[Tensor] | None:
        """The inputs of this call, or None where the store holds other parameters than those recorded."""
        store = dict(pyro.get_param_store().named_parameters())
        if not store.keys() >= self.param_sites.keys():
            return None
        inputs: list[Any] = self.inputs.copy()
        for i, argument in self.arguments:
            inputs[i] = arguments[argument]
        for i, name in self.params:
            inputs[i] = store[name]
        return inputs if [kind(tensor) for tensor in inputs] == self.kinds else None

    def __call__(self, inputs: list[Tensor]) -> Outcome:
        if self.on_gpu:  # a CUDA graph writes its results where those of the call before are
            for leaf in (inputs[i] for i in self.leaves):
                leaf.grad = None if leaf.grad is None else leaf.grad.clone()
            torch.compiler.cudagraph_mark_step_begin()
        with torch.no_grad():
            if self.once is not None and self.settled is None:
                self.settled = self.once(*inputs)
            loss, *gradients = self.run(*inputs, *(self.settled or []))
            loss = loss.clone() if self.on_gpu else loss
        store = pyro.get_param_store()
        for handler in _PYRO_STACK:  # SVI steps the parameters of the sites it sees
            for name in self.param_sites:
                handler.trace.add_node(name, name=name, type="param", value=store[name])
        return Outcome(loss, [inputs[i] for i in self.leaves], gradients)

    def settle(self) -> None:
        """Compute what depends on no argument at the next call only: from then on, nothing else may change."""
        split = split_invariant(self.module, [i for i, _ in self.arguments])
        if split is not None:
            self.once, self.module = split
            self.run = self.module

    def compile(self, **options: Any) -> None:
        """Compile at the next call; random numbers as in eager torch, a CUDA graph where on a GPU and it can be."""

        def compile_and_run(*inputs: Tensor) -> list[Tensor]:
            cudagraphs = {"triton.cudagraphs": can_be_captured(self.module)}
            self.run = compiled_module(self.module, inputs, cudagraphs | options)
            return self.run(*inputs)

        self.run = compile_and_run


def record(call: Callable[[], Any], arguments: list[Tensor]) -> tuple[Outcome, Graph | None]:
    """Run `call` for real, recording it; no graph if it made parameters, which later calls do not."""
    store, recording, sites = pyro.get_param_store(), _Recording(), poutine.trace(param_only=True)
    known = set(store.keys())
    results: list[Tensor] = []

    def run() -> list[Tensor]:
        with sites, recording:
            loss = call()
        if not isinstance(loss, Tensor):
            raise TypeError(f"the objective returned {type(loss).__name__}, not one loss")
        results[:] = [loss, *_own(recording.gradients)]
        return results

    with _without_value_checks(), torch.autograd.set_multithreading_enabled(False):
        module = make_fx(run)()  # untracked tensors become attributes that are the tensors themselves
    outcome = Outcome(results[0].detach(), list(recording.gradients), results[1:])
    if store.keys() != known:
        return outcome, None
    for node in filter(_has_shape_by_value, module.graph.nodes):
        raise RuntimeError(f"the shape of a result of {node.target} depends on values")

    inputs = _lift(module)
    place = {id(tensor): i for i, tensor in enumerate(inputs)}
    kept = [j for j, leaf in enumerate(outcome.leaves) if id(leaf) in place]  # not those made on the way
    output: Any = module.graph.output_node()
    output.args = ([output.args[0][0], *(output.args[0][1 + j] for j in kept)],)
    module.recompile()
    arguments_ = [(place[id(tensor)], i) for i, tensor in enumerate(arguments) if id(tensor) in place]
    names = map(store.param_name, inputs)
    params = [(i, name) for i, name in enumerate(names) if name in sites.trace.nodes]
    elsewhere = {*range(len(inputs))} - {i for i, _ in arguments_ + params}
    return outcome, Graph(
        module=module,
        run=module,
        inputs=[tensor if i in elsewhere else None for i, tensor in enumerate(inputs)],
        arguments=arguments_,
        params=params,
        kinds=[kind(tensor) for tensor in inputs],
        leaves=[place[id(outcome.leaves[j])] for j in kept],
        param_sites=dict.fromkeys(name for name in sites.trace.param_nodes if name in store),
        on_gpu=any(tensor.is_cuda for tensor in inputs),
    )


class _Recording(TorchFunctionMode):
    """Keeps values in tensors: `.item()` returns a tensor, `.backward()` sets its gradients aside."""

    def __init__(self) -> None:
        super().__init__()
        self.gradients: dict[Tensor, Tensor] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is Tensor.item:
            return args[0].detach()
        if func is Tensor.backward:
            return self._backward(*args, **kwargs)
        if func in (Tensor.numpy, Tensor.tolist, Tensor.__array__):
            raise RuntimeError(f"a tensor leaves torch by {func.__name__}")
        if func in (Tensor.__bool__, Tensor.__int__, Tensor.__float__, Tensor.__index__):
            # The value of a tensor it has not met, make_fx would take for a constant; of this one it refuses.
            args = (args[0].detach(),)
        return func(*args, **kwargs)

    def _backward(
        self, loss: Any, gradient: Any = None, retain_graph: Any = None, create_graph: bool = False, inputs: Any = None
    ) -> None:
        leaves = _leaves(loss) if inputs is None else list(inputs)
        found = torch.autograd.grad(loss, leaves, gradient, retain_graph, create_graph, allow_unused=True)
        for leaf, new in zip(leaves, found, strict=True):
            if new is not None:
                self.gradients[leaf] = self.gradients[leaf] + new if leaf in self.gradients else new


@contextmanager
def _without_value_checks() -> Iterator[None]:
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


@contextmanager
def undone_on_failure(modules: dict[nn.Module, None]) -> Iterator[None]:
    """Put buffers and random number generators back, so that the plain path can take over."""
    buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers(recurse=False)]
    cpu, cuda = pyro.util.get_rng_state(), torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    try:
        yield
    except Exception:
        pyro.util.set_rng_state(cpu)
        torch.cuda.set_rng_state_all(cuda)
        for buffer, before in buffers:
            buffer.copy_(before)
        raise


def _lift(module: GraphModule) -> list[Tensor]:
    """Turn the tensors held by the graph into its inputs; returns them in order."""
    graph = module.graph
    inputs: dict[int, tuple[Tensor, Node]] = {}
    first = graph.create_node("call_function", torch.zeros, ([],))  # stays in its place while others go
    next(iter(graph.nodes)).prepend(first)
    for node in list(graph.find_nodes(op="get_attr")):
        tensor = getattr(module, node.target)
        if node.users and all(user.target is aten.lift_fresh_copy.default for user in node.users):
            if tensor.numel() == 1:  # torch.tensor(0.5): a number, for the compiler to fold
                for user in list(node.users):
                    user.target, user.args = aten.full.default, (list(tensor.shape), tensor.item())
                    user.kwargs = {"dtype": tensor.dtype, "device": tensor.device}
                graph.erase_node(node)
            continue
        if id(tensor) not in inputs:
            with graph.inserting_before(first):
                inputs[id(tensor)] = tensor, graph.placeholder(f"input_{len(inputs)}")
            shaped = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")
            inputs[id(tensor)][1].meta["val"] = shaped  # as make_fx notes it for all else
        node.replace_all_uses_with(inputs[id(tensor)][1])
        graph.erase_node(node)
    graph.erase_node(first)
    graph.lint()
    module.recompile()
    for name in {*module._parameters, *module._buffers} - {n.target for n in graph.find_nodes(op="get_attr")}:
        delattr(module, name)
    return [tensor for tensor, _ in inputs.values()]


def _leaves(loss: Tensor) -> list[Tensor]:
    """The leaf tensors that require a gradient and that `loss` depends on."""
    if loss.grad_fn is None:
        return [loss]
    found: list[Tensor] = []
    met = set()
    waiting: list[Any] = [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in met:
            continue
        met.add(node)
        if node.name() == "torch::autograd::AccumulateGrad":
            found.append(node.variable)
        waiting += [earlier for earlier, _ in node.next_functions]
    return found


def _own(gradients: dict[Tensor, Tensor]) -> Iterator[Tensor]:
    """Each gradient in memory of its own, laid out as its tensor: optimizers change them in place."""
    met = set()
    for leaf, gradient in gradients.items():
        memory = gradient.untyped_storage().data_ptr()
        if memory in met or gradient.stride() != leaf.stride():
            gradient = torch.empty_like(leaf, requires_grad=False).copy_(gradient)
        met.add(memory)
        yield gradient


def _has_shape_by_value(node: Any) -> bool:
    """Whether the shape of a node's result depends on values, as in x[x > 0]."""
    if torch.Tag.dynamic_output_shape not in getattr(node.target, "tags", ()):
        return False
    if node.target is not aten.index.Tensor:
        return True
    return any(i is not None and i.meta["val"].dtype in (torch.bool, torch.uint8) for i in node.args[1])


def kind(tensor: Tensor) -> tuple:
    """What a graph takes for granted of a tensor: another kind needs another graph."""
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad


def first_line(error: Exception) -> str:
    """Type and first line of an error, without the full stop."""
    error = getattr(error, "inner_exception", error)  # torch.compile's own errors begin with a line that says nothing
    return f"{type(error).__name__}: {error}".splitlines()[0].rstrip(".")


def reason(error: Exception) -> str:
    """What stopped the recording, and where: in the last line of Python that is not torch's or the recorder's."""
    what = first_line(error)
    if "get value out of a tracing tensor" in what:
        what = "a value is read out of a tensor, to decide what is computed"
    inside = (str(Path(torch.__file__).parent), __file__)
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)[1:] if not frame.filename.startswith(inside)]
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno}, `{frames[-1].line}`)" if frames else ""
    return what + where
