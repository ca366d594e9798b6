"""How matrix products are taken: in bfloat16 or TensorFloat-32, or by the faster of a CPU's two libraries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.fx import GraphModule, Node

from .custom_ops import onednn_product
from .torch_private import CAST

aten = torch.ops.aten

# Multiplications and additions of a product from which on the other library is worth a call from Python.
LARGE = 2e7


def products_in_bf16(module: GraphModule) -> None:
    """Take matrix products and convolutions of float32 in bfloat16, with float32 on either side."""
    graph = module.graph
    products = (aten.mm, aten.bmm, aten.convolution, aten.convolution_backward)

    def cast(node: Any, dtype: torch.dtype) -> Any:
        return graph.call_function(CAST, (node,), {"dtype": dtype})

    _separate_biases(graph)  # a bias is added in float32
    for node in [n for n in graph.nodes if getattr(n.target, "overloadpacket", None) in products]:
        values = node.meta["val"] if isinstance(node.meta["val"], tuple | list) else [node.meta["val"]]
        if any(value is not None and value.dtype != torch.float32 for value in values):
            continue
        with graph.inserting_before(node):
            node.args = tuple(cast(arg, torch.bfloat16) if isinstance(arg, Node) else arg for arg in node.args)
        for end in [node] if len(values) == 1 else [user for user in node.users if user.users]:
            with graph.inserting_after(end):
                back = cast(end, torch.float32)
            end.replace_all_uses_with(back, delete_user_cb=lambda user, back=back: user is not back)
    module.recompile()


def products_by_onednn(module: GraphModule) -> None:
    """Take large matrix products of float32 on a CPU by oneDNN instead of BLAS: the same sums in another order.

    MKL uses no AVX-512 on AMD processors: there oneDNN takes products of (128, 784) and (784, 400) 1.7 times as fast,
    those of 1,024 rows 2.1 times. Biases are added by the operation that follows, which costs nothing.
    """
    if not torch.backends.mkldnn.is_available() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return
    graph = module.graph
    _separate_biases(graph)
    for node in list(graph.find_nodes(op="call_function", target=aten.mm.default)):
        left, right = node.args
        out, depth = node.meta["val"], left.meta["val"].shape[1]
        if out.device.type != "cpu" or out.dtype != torch.float32 or 2 * out.numel() * depth < LARGE:
            continue
        with graph.inserting_before(node):
            if not left.meta["val"].is_contiguous():  # as oneDNN wants it; the compiler writes it so from the start
                left = graph.call_function(aten.clone.default, (left,), {"memory_format": torch.contiguous_format})
            product = graph.call_function(onednn_product, (left, right))
            product.meta["val"] = out
        node.replace_all_uses_with(product)
        graph.erase_node(node)
    module.recompile()


@contextmanager
def products_in_tf32(on: bool) -> Iterator[None]:
    """Take matrix products and convolutions on NVIDIA GPUs in TensorFloat-32, if on."""
    switches: list[Any] = [torch.backends.cuda.matmul, torch.backends.cudnn.conv] if on else []  # type: ignore[attr-defined]
    before = [switch.fp32_precision for switch in switches]
    for switch in switches:
        switch.fp32_precision = "tf32"
    try:
        yield
    finally:
        for switch, kept in zip(switches, before, strict=True):
            switch.fp32_precision = kept


def _separate_biases(graph: Any) -> None:
    """Turn each product with a bias into a product and a sum."""
    for node in list(graph.find_nodes(op="call_function", target=aten.addmm.default)):
        if node.kwargs:
            continue
        bias, left, right = node.args
        with graph.inserting_before(node):
            product = graph.call_function(aten.mm.default, (left, right))
            total = graph.call_function(aten.add.Tensor, (product, bias))
        product.meta["val"] = total.meta["val"] = node.meta["val"]
        node.replace_all_uses_with(total)
        graph.erase_node(node)
