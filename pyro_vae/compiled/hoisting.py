"""What a recorded graph computes from parameters alone, taken out of it: to be computed once, not at every call."""

from __future__ import annotations

import operator
from collections.abc import Container
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

aten = torch.ops.aten

PRODUCTS = (aten.mm, aten.addmm, aten.bmm, aten.baddbmm, aten.convolution)
# Views whose schema does not say so: of a linear layer without bias on 3-D inputs, of the gates of a GRU.
UNSAID_VIEWS = (aten._unsafe_view, aten.unsafe_split, aten.unsafe_split_with_sizes)

BATCH_NORMS = (aten.native_batch_norm, aten.cudnn_batch_norm, aten.miopen_batch_norm)


def split_invariant(module: GraphModule, changing: Container[int]) -> tuple[GraphModule, GraphModule] | None:
    """Split a graph in two, the first of which depends on no input that changes.

    Only what comes from a matrix product or a convolution is worth it, such as the components of a VampPrior. What is
    larger than all it is made from stays where it is used: there, repeating costs nothing.

    Args:
        changing: positions of the inputs that differ from call to call.

    Returns:
        A graph of all inputs, whose results are further inputs, at the end, of the other; None if there is no such
        part, or a step of the graph changes one of its inputs in place.
    """
    graph = module.graph
    placeholders = graph.find_nodes(op="placeholder")
    worth: dict[Node, bool] = {node: False for i, node in enumerate(placeholders) if i not in changing}
    changed = {_memory(tensor) for node in graph.nodes for tensor in _changed(node)}
    if any(node.op == "placeholder" for node in changed) or any(map(_trains_batch_norm, graph.nodes)):
        return None
    changed = _ancestors([*changed])  # all that a change could show in, should an operation share memory unsaid
    for node in graph.nodes:
        if node.op != "call_function" or node in changed:
            continue
        if all(arg in worth for arg in node.all_input_nodes) and _stays(node):
            is_product = getattr(node.target, "overloadpacket", None) in PRODUCTS
            worth[node] = is_product or any(worth[arg] for arg in node.all_input_nodes)
    results = [n for n in graph.nodes if worth.get(n) and any(user not in worth for user in n.users)]
    if not results:
        return None
    first = Graph()
    copies: dict[Node, Node] = {}
    needed = _ancestors(results) | {*placeholders}
    for node in graph.nodes:
        if node in needed:
            copies[node] = first.node_copy(node, copies.__getitem__)
    first.output([copies[node] for node in results])
    for i, node in enumerate(results):
        with graph.inserting_before(placeholders[-1].next):
            placeholders.append(graph.placeholder(f"invariant_{i}"))
        placeholders[-1].meta["val"] = node.meta["val"]
        node.replace_all_uses_with(placeholders[-1])
    graph.eliminate_dead_code()
    module.recompile()
    return GraphModule(module, first), module


def _stays(node: Node) -> bool:
    """Whether a node gives the same at every call, in a tensor not larger than all those it is made from."""
    if node.target is operator.getitem:
        return True
    if not isinstance(node.target, torch._ops.OpOverload) or torch.Tag.nondeterministic_seeded in node.target.tags:
        return False
    if node.target.overloadpacket in PRODUCTS or not node.all_input_nodes:
        return True
    if not all(_is_tensors(n.meta.get("val")) for n in (node, *node.all_input_nodes)):
        return False
    sizes = [_size(arg.meta["val"]) for arg in node.all_input_nodes]
    return _size(node.meta["val"]) <= max(sizes)


def _changed(node: Node) -> list[Node]:
    """The tensors that a node changes in place."""
    arguments = node.target._schema.arguments if isinstance(node.target, torch._ops.OpOverload) else []
    written = [spec.name for spec in arguments if spec.alias_info is not None and spec.alias_info.is_write]
    given = dict(zip([spec.name for spec in arguments], node.args, strict=False)) | node.kwargs
    return [tensor for name in written for tensor in _nodes(given.get(name))]


def _memory(node: Node) -> Node:
    """The node whose memory a view shows."""
    while node.target is operator.getitem or _is_view(node):
        (node,) = _nodes(node.args[0])
    return node


def _trains_batch_norm(node: Node) -> bool:
    """Whether a node changes running means, which its schema does not say."""
    return getattr(node.target, "overloadpacket", None) in BATCH_NORMS and bool(node.args[5])


def _is_view(node: Node) -> bool:
    arguments = node.target._schema.arguments if isinstance(node.target, torch._ops.OpOverload) else []
    unsaid = getattr(node.target, "overloadpacket", None) in UNSAID_VIEWS
    return unsaid or (bool(arguments) and arguments[0].alias_info is not None)


def _nodes(value: Any) -> list[Node]:
    return [node for node in (value if isinstance(value, list | tuple) else [value]) if isinstance(node, Node)]


def _is_tensors(value: Any) -> bool:
    values = value if isinstance(value, list | tuple) else [value]
    return all(isinstance(item, Tensor) for item in values)


def _size(value: Any) -> int:
    return value.numel() if isinstance(value, Tensor) else sum(map(_size, value))


def _ancestors(nodes: list[Node]) -> set[Node]:
    found: set[Node] = set()
    waiting = [*nodes]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += node.all_input_nodes
    return found
