"""A recorded graph of tensor operations, where its inputs are found, and what a call of it gives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyro
import torch
from torch import Tensor
from torch.fx import GraphModule

from .cross_entropy import cross_entropies_by_products
from .matmul import products_by_onednn, products_in_bf16
from .torch_private import begin_cuda_step, can_be_captured, compiled_module, handlers, without_its_advice


class Index(int):
    """Which result stands here; a type of its own, since a function may return numbers."""


class Returned(NamedTuple):
    """The form of what a function returns."""

    structure: Any  # tuples, lists and dicts with an `Index` in place of each tensor
    attached: list[bool]  # which results have a history where they are not recorded


class Outcome(NamedTuple):
    """What one call gave.

    Attributes:
        results: the tensors that the function returned, without their history.
        returned: how they were put together.
        accumulated: leaf tensors and the gradients that ``.backward()`` inside the function gives them.
        derivatives: leaf tensors and the derivatives of the result by them, where that is one number.
        supports: for each observed site whether its values lie in the support, shape (S,); None without such sites.
    """

    results: list[Tensor]
    returned: Returned
    accumulated: list[tuple[Tensor, Tensor]]
    derivatives: list[tuple[Tensor, Tensor]]
    supports: Tensor | None

    def of(self, leaf_for: Callable[[Tensor], Tensor]) -> Outcome:
        """The same with other leaf tensors."""
        accumulated, derivatives = (
            [(leaf_for(leaf), new) for leaf, new in pairs] for pairs in (self.accumulated, self.derivatives)
        )
        return self._replace(accumulated=accumulated, derivatives=derivatives)

    def flat(self) -> list[Tensor]:
        """All tensors in the order in which a graph gives them."""
        gradients = [gradient for _, gradient in self.accumulated + self.derivatives]
        return [*self.results, *gradients, *([] if self.supports is None else [self.supports])]


@dataclass
class Graph:
    """Recorded operations, and where each of their inputs is found."""

    module: GraphModule  # gives the tensors of an `Outcome`
    run: Callable[..., list[Tensor]]
    inputs: list[Tensor | None]  # None where it is one of the next two
    arguments: list[tuple[int, int]]  # input, index of the argument
    params: list[tuple[int, str]]  # input, name in the param store
    kinds: list[Any]  # what each input must be
    returned: Returned
    accumulated: list[int]  # the inputs that gradients are added to
    derivatives: list[int]  # the inputs that the result is differentiated by
    checks_supports: bool
    param_sites: dict[str, None]
    on_gpu: bool
    has_run: bool = False

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
        leaves = [inputs[i] for i in self.accumulated]
        if self.on_gpu:  # a CUDA graph writes its results where those of the call before are
            for leaf in leaves:
                leaf.grad = None if leaf.grad is None else leaf.grad.clone()
            begin_cuda_step()
        with torch.no_grad():
            outputs = list(self.run(*inputs))
            supports = outputs.pop() if self.checks_supports else None
            start, end = len(self.returned.attached), len(self.returned.attached) + len(leaves)
            results, gradients, derivatives = outputs[:start], outputs[start:end], outputs[end:]
            if self.on_gpu:
                results, derivatives = [t.clone() for t in results], [t.clone() for t in derivatives]
        store = pyro.get_param_store()
        for handler in handlers():  # SVI steps the parameters of the sites it sees
            for name in self.param_sites:
                handler.trace.add_node(name, name=name, type="param", value=store[name])
        by = [inputs[i] for i in self.derivatives]
        accumulated, derived = zip(leaves, gradients, strict=True), zip(by, derivatives, strict=True)
        return Outcome(results, self.returned, list(accumulated), list(derived), supports)

    def prepare(self, backend: str, precision: str) -> None:
        """Products in another precision or by another library, and compiling, as a `Recorded` has it."""
        if precision == "bf16":
            products_in_bf16(self.module)
        elif backend == "inductor":
            products_by_onednn(self.module)
        if backend == "inductor":
            cross_entropies_by_products(self.module)
            self.compile()

    def compile(self, **options: Any) -> None:
        """Compile at the next call; random numbers as in eager torch, a CUDA graph where on a GPU and it can be."""

        def compile_and_run(*inputs: Tensor) -> list[Tensor]:
            cudagraphs = {"triton.cudagraphs": can_be_captured(self.module)}
            self.run = compiled_module(self.module, inputs, cudagraphs | options)
            with without_its_advice():  # kernels are made at the first call
                return self.run(*inputs)

        self.run = compile_and_run


def kind(tensor: Tensor) -> tuple:
    """What a graph takes for granted of a tensor: another kind needs another graph."""
    return tensor.shape, tensor.stride(), tensor.dtype, tensor.device, tensor.requires_grad
