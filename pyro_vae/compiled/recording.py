"""Record the tensor operations of one call as a graph, with the gradients, whatever Python runs on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.fx import GraphModule, Node
from torch.overrides import TorchFunctionMode

from ..pairs.sites import counts
from .graph import Graph, Index, Outcome, Returned, kind
from .signature import replaced
from .torch_private import ACCUMULATES, held_tensors, make_fx, shapes_noted_once, without_value_checks

aten = torch.ops.aten


def record(
    call: Callable[[], Any], arguments: list[Tensor], *, check_supports: bool = True
) -> tuple[Outcome, Graph | None]:
    """Run a function for real, recording it.

    Args:
        call: takes no arguments; it holds those of the function.
        arguments: the tensors among them that are given anew in each call.
        check_supports: whether the graph looks if observed values lie in their supports, and gives NaN if not.

    Returns:
        What came of the call, and the graph; None if the call made parameters, which later ones do not.

    Raises:
        Exception: the call cannot be recorded, or raised an error of its own.
    """
    store, sites = pyro.get_param_store(), poutine.trace(param_only=True)
    recording, checking = _Recording(), _Checking() if check_supports else None
    known = set(store.keys())
    outcomes: list[Outcome] = []

    def run() -> list[Tensor]:
        with sites, checking or nullcontext(), recording:
            value = call()
        outcomes[:] = [_outcome(value, recording.gradients, checking.flags if checking else [])]
        return outcomes[0].flat()

    with (
        without_value_checks(),
        torch.autograd.set_multithreading_enabled(False),
        _without_onednn(),
        shapes_noted_once(),
    ):
        module = make_fx(run)()  # untracked tensors become attributes that are the tensors themselves
    (outcome,) = outcomes
    if store.keys() != known:
        return outcome, None
    for node in filter(_has_shape_by_value, module.graph.nodes):
        raise RuntimeError(f"the shape of a result of {node.target} depends on values")

    inputs = _lift(module)
    position = {id(tensor): i for i, tensor in enumerate(inputs)}
    arguments_ = [(position[id(tensor)], i) for i, tensor in enumerate(arguments) if id(tensor) in position]
    names = map(store.param_name, inputs)
    params = [(i, name) for i, name in enumerate(names) if name in sites.trace.nodes]
    held = {*range(len(inputs))} - {i for i, _ in arguments_ + params}
    if torch.is_grad_enabled() and any(inputs[i].grad_fn is not None for i in held):
        raise RuntimeError("a tensor that it holds is itself computed from others that require gradients")
    _keep_gradients_of(module, outcome, position)
    return outcome, Graph(
        module=module,
        run=module,
        inputs=[tensor if i in held else None for i, tensor in enumerate(inputs)],
        arguments=arguments_,
        params=params,
        kinds=[kind(tensor) for tensor in inputs],
        returned=outcome.returned,
        accumulated=[position[id(leaf)] for leaf, _ in outcome.accumulated if id(leaf) in position],
        derivatives=[position[id(leaf)] for leaf, _ in outcome.derivatives if id(leaf) in position],
        checks_supports=outcome.supports is not None,
        param_sites=dict.fromkeys(name for name in sites.trace.param_nodes if name in store),
        on_gpu=any(tensor.is_cuda for tensor in inputs),
    )


def _outcome(value: Any, gradients: dict[Tensor, Tensor], flags: list[Tensor]) -> Outcome:
    """What came of a call that returned this value."""
    tensors: list[Tensor] = []

    def index(tensor: Tensor) -> Index:
        tensors.append(tensor)
        return Index(len(tensors) - 1)

    structure = replaced(value, index)
    if not tensors or not _holds_indices_alone(structure):
        raise TypeError(f"it returned {type(value).__name__}, not a tensor, or a tuple, list or dict of tensors")
    attached = [tensor.requires_grad for tensor in tensors]
    results = [tensor.detach() if tensor.requires_grad else tensor for tensor in tensors]
    supports = torch.stack(flags) if flags else None
    if supports is not None:
        results = [torch.where(supports.all(), r, torch.nan) if r.is_floating_point() else r for r in results]
    derivatives: dict[Tensor, Tensor] = {}
    if len(tensors) == 1 and tensors[0].dim() == 0 and attached[0] and not gradients:
        leaves = _leaves(tensors[0])
        found = torch.autograd.grad(tensors[0], leaves, retain_graph=True, allow_unused=True)
        derivatives = {leaf: new for leaf, new in zip(leaves, found, strict=True) if new is not None}
    returned = Returned(structure, attached)
    return Outcome(results, returned, list(_own(gradients)), list(_own(derivatives)), supports)


def _keep_gradients_of(module: GraphModule, outcome: Outcome, position: dict[int, int]) -> None:
    """Drop the gradients of tensors that were made on the way from what a graph gives."""
    output: Any = module.graph.output_node()
    count = len(outcome.results)
    leaves = [leaf for leaf, _ in outcome.accumulated + outcome.derivatives]
    nodes = list(output.args[0])
    kept = [node for node, leaf in zip(nodes[count:], leaves, strict=False) if id(leaf) in position]
    output.args = ([*nodes[:count], *kept, *nodes[count + len(leaves) :]],)
    module.recompile()


def _holds_indices_alone(structure: Any) -> bool:
    items = list(structure.values()) if isinstance(structure, dict) else structure
    return all(map(_holds_indices_alone, items)) if isinstance(items, list | tuple) else type(items) is Index


class _Checking(Messenger):
    """Notes whether observed values lie in the supports of their sites, as validation would ask."""

    def __init__(self) -> None:
        super().__init__()
        self.flags: list[Tensor] = []

    def _pyro_post_sample(self, msg: Any) -> None:
        if not msg["is_observed"] or not counts(msg):
            return
        try:
            self.flags.append(msg["fn"].support.check(msg["value"]).all())
        except NotImplementedError:  # a distribution that does not say
            return


@contextmanager
def _without_onednn() -> Iterator[None]:
    """Recurrent layers as plain operations: oneDNN's own for an LSTM cannot be run from a graph."""
    switch: Any = torch.backends.mkldnn
    enabled = switch.enabled
    switch.enabled = False
    try:
        yield
    finally:
        switch.enabled = enabled


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
    for name in held_tensors(module) - {n.target for n in graph.find_nodes(op="get_attr")}:
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
        if node.name() == ACCUMULATES:
            found.append(node.variable)
        waiting += [earlier for earlier, _ in node.next_functions]
    return found


def _own(gradients: dict[Tensor, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Each gradient in memory of its own, laid out as its tensor: optimizers change them in place."""
    met = set()
    for leaf, gradient in gradients.items():
        memory = gradient.untyped_storage().data_ptr()
        if memory in met or gradient.stride() != leaf.stride():
            gradient = torch.empty_like(leaf, requires_grad=False).copy_(gradient)
        met.add(memory)
        yield leaf, gradient


def _has_shape_by_value(node: Any) -> bool:
    """Whether the shape of a node's result depends on values, as in x[x > 0]."""
    if torch.Tag.dynamic_output_shape not in getattr(node.target, "tags", ()):
        return False
    if node.target is not aten.index.Tensor:
        return True
    return any(i is not None and i.meta["val"].dtype in (torch.bool, torch.uint8) for i in node.args[1])
