"""How a compiled graph sums cross-entropies of black-or-white pixels: with one logarithm for many pixels."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.fx import GraphModule, Node, Proxy
from torch.fx.proxy import GraphAppendingTracer

aten = torch.ops.aten

LANES = 16  # float32 numbers in a vector register of 512 bits
MOST = 64  # factors of a product: each is at most 2, and 2^64 is far from overflow


def cross_entropies_by_products(module: GraphModule) -> None:
    """Sum the logarithms of float32 cross-entropies on a CPU as logarithms of products.

    With logits l and targets t, over groups of pixels

        -cross-entropy summed = sum (l t - max(l, 0)) - sum log prod (1 + exp(-|l|))

    The factors lie between 1 and 2, so that a product is as exact as the sum it replaces: rounding of one part in 2^24
    for each pixel, either way. The logarithm is most of the work on a cross-entropy, about a third of that on log p(x)
    with bfloat16 products. Gradients do not pass through here: they are recorded as operations of their own.
    """
    graph, tracer = module.graph, GraphAppendingTracer(module.graph)
    for node in list(graph.find_nodes(op="call_function", target=aten.binary_cross_entropy_with_logits.default)):
        found = _negated_sum(node)
        value = node.meta["val"]
        if found is None or value.dtype != torch.float32 or value.device.type != "cpu":
            continue
        total, count = found
        lanes = count // LANES
        factors = max((size for size in range(1, MOST + 1) if lanes % size == 0), default=1)
        if count % LANES or factors == 1:
            continue
        shape = [*total.meta["val"].shape, lanes // factors, factors, LANES]  # (..., groups, factors, lanes)
        with graph.inserting_before(total):
            logits, targets = (aten.reshape.default(Proxy(arg, tracer), shape) for arg in node.args[:2])
            linear = aten.sub.Tensor(aten.mul.Tensor(logits, targets), aten.relu.default(logits))
            linear = aten.sum.dim_IntList(linear, [-2])
            factor = aten.add.Tensor(aten.exp.default(aten.neg.default(aten.abs.default(logits))), 1.0)
            logarithm = aten.log.default(aten.prod.dim_int(factor, -2))
            new = aten.sum.dim_IntList(aten.sub.Tensor(linear, logarithm), [-2, -1]).node
            new.meta["val"] = total.meta["val"]
        total.replace_all_uses_with(new)
    graph.eliminate_dead_code()
    module.recompile()


def _negated_sum(node: Node) -> tuple[Node, int] | None:
    """The sum of the negated cross-entropies over their last dimensions, and over how many; None if it is another."""
    if any(node.args[2:4]) or (len(node.args) > 4 and node.args[4] != 0) or node.kwargs:  # weights, a reduction
        return None
    negated: Any = _only_user(node)
    if negated is None or negated.target is not aten.neg.default:
        return None
    total: Any = _only_user(negated)
    if total is not None and total.target is aten.view.default:
        total = _only_user(total)
    if total is None or total.target is not aten.sum.dim_IntList or len(total.args) != 2 or total.kwargs:
        return None
    summed = total.args[0].meta["val"]
    dims = sorted(dim % summed.dim() for dim in total.args[1])
    kept = summed.dim() - len(dims)
    if dims != list(range(kept, summed.dim())):
        return None
    return total, math.prod(summed.shape[kept:])


def _only_user(node: Node) -> Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None
