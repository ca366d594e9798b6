"""Steps of several pairs of one kind as one program: the graph of a whole step, vmapped."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from pyro.infer import SVI
from torch import Tensor, nn
from torch.func import vmap
from torch.fx import GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from .compiled import CompiledELBO
from .inductor import can_be_captured
from .objectives import scale_latents
from .optimizer import OneOptimizer
from .pairs import announcing
from .recording import Graph, first_line
from .whole_step import MOMENTS, Captured, Selecting, WholeStep

aten = torch.ops.aten

# Tensors made without looking at another one are the same for all seeds; what draws into them needs one for each.
MAKERS = {
    aten.empty.memory_format: aten.new_empty.default,
    aten.zeros.default: aten.new_zeros.default,
    aten.ones.default: aten.new_ones.default,
}


class BatchedStep:
    """Steps of several pairs of one kind as one program: the graph of a step, vmapped.

    Parameters, buffers and Adam's moments of all pairs are stacked, with the pairs in front, and changed in place.

    Args:
        pairs: modules with ``model`` and ``guide``.
        pattern: one more, whose step is recorded.
        objective: takes the indices of images.
        one: the settings of its optimizer, its scheduler and its clipping hold for all pairs.
        weight: of the KL term, shape ().
        shared: tensors that are the same for all pairs.
        size: of a batch.
        precision: of matrix products and convolutions.
    """

    def __init__(
        self,
        pairs: Sequence[nn.Module],
        pattern: nn.Module,
        objective: Selecting,
        one: OneOptimizer,
        weight: Tensor,
        *,
        shared: Sequence[Tensor],
        size: int,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        self.pairs, self.one, self.shared = pairs, one, shared
        self.compiled = CompiledELBO(objective, backend="eager", precision=precision)
        announced = announcing(pattern.model, pattern.guide)  # type: ignore[arg-type]
        self.pair = scale_latents(announced[0], weight), scale_latents(announced[1], weight)
        self.device = weight.device
        self.names = {id(tensor): name for name, tensor in _tensors(pattern).items()}
        held = [_tensors(pair) for pair in pairs]
        self.stacks = {name: torch.stack([tensors[name].detach() for tensors in held]) for name in held[0]}
        self.graphs: dict[int, tuple[WholeStep, Callable[..., list[Tensor]], list[Tensor], int]] = {}

        SVI(*self.pair, one, self.compiled).step(torch.arange(size, device=self.device))  # makes the optimizer's state
        state = {} if one.optimizer is None else one.optimizer.state
        for name, tensor in _tensors(pattern).items():
            for moment, own in state.get(tensor, {}).items():
                if moment in MOMENTS:
                    self.names[id(own)] = f"{moment} of {name}"
                    self.stacks[f"{moment} of {name}"] = own.new_zeros(len(pairs), *own.shape)
        self.fresh = False

    def record(self, size: int, *, compiles: bool) -> None:
        """Record the step for batches of this size; all sizes come before the first step."""
        chosen = torch.arange(size, device=self.device)
        whole = WholeStep(self.compiled, self.one)
        cure = "Train each seed with fit."
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("error", message="CompiledELBO", category=RuntimeWarning)
                for _ in range(2):
                    self.compiled.loss_and_grads(*self.pair, chosen)
                found = whole.graph_for(*self.pair, chosen)
        except RuntimeWarning as warning:
            raise ValueError(f"Expected a step that can be recorded; got: {warning} {cure}") from warning
        if found is None:
            raise ValueError(
                f"Expected torch's Adam or AdamW, without amsgrad and with decoupled weight decay, over all "
                f"parameters, whose data type is one; got {self.one.optimizer}. {cure}"
            )
        graph, inputs = found
        settings = inputs[-1]
        common = {id(tensor) for tensor in (*self.shared, settings)}
        strange = [t for t in inputs if id(t) not in common and id(t) not in self.names and t is not chosen]
        if strange:
            raise ValueError(
                f"Expected all tensors of a pair to be its parameters or buffers; got others, of shapes "
                f"{[tuple(tensor.shape) for tensor in strange]}. Register them as buffers. Or: {cure}"
            )
        batched = torch.stack([chosen] * len(self.pairs))
        stacked = [batched if t is chosen else t if id(t) in common else self.stacks[self.names[id(t)]] for t in inputs]
        dims = tuple(None if id(tensor) in common else 0 for tensor in inputs)
        place = next(i for i, tensor in enumerate(inputs) if tensor is chosen)
        module = _drawing_for_each(graph.module, place)
        try:
            with torch.no_grad(), warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="There is a performance drop")
                run_all = vmap(module, in_dims=dims, randomness="different")
                recorded = make_fx(lambda *tensors: run_all(*tensors), tracing_mode="fake")(*stacked)
        except (RuntimeError, NotImplementedError, ValueError) as error:
            raise ValueError(f"Expected operations that torch.vmap knows; got {first_line(error)}. {cure}") from error
        self.graphs[size] = whole, _runnable(graph, recorded, stacked, place, compiles=compiles), stacked, place

    def take(self, chosen: Tensor) -> Tensor:
        """One step for the images chosen, indices (S, B).

        Returns:
            Loss, norm of the gradient, and a number that is finite if both are, of each pair: shape (S, 3).
        """
        if not self.fresh:  # the steps that were recorded moved the scheduler
            self.one.set_state({"parameters": {}, "groups": None, "scheduler": None})
            self.one.optimizer.zero_grad()  # type: ignore[union-attr]
            self.one.optimizer.step()  # type: ignore[union-attr]  # of nothing: schedulers want to see one
            self.fresh = True
        whole, run, stacked, place = self.graphs[chosen.shape[1]]
        whole.tell_settings()
        inputs = [*stacked[:place], chosen, *stacked[place + 1 :]]
        with torch.no_grad():
            result = run(*inputs)[0].clone()
        if self.one.scheduler is not None:
            self.one.scheduler.step()
        return result

    @property
    def learning_rate(self) -> float:
        """Of the next step."""
        return self.one.optimizer.param_groups[0]["lr"]  # type: ignore[union-attr]

    @torch.no_grad()
    def hand_back(self) -> None:
        """Copy the present parameters and buffers into the pairs."""
        for i, pair in enumerate(self.pairs):
            for name, tensor in _tensors(pair).items():
                tensor.copy_(self.stacks[name][i])


def _tensors(pair: nn.Module) -> dict[str, Tensor]:
    return {**dict(pair.named_parameters()), **dict(pair.named_buffers())}


def _drawing_for_each(module: GraphModule, place: int) -> GraphModule:
    """The graph with each tensor that is changed in place made for each pair: like the input at `place`, not alone."""
    anchor = list(module.graph.find_nodes(op="placeholder"))[place]
    for node in module.graph.nodes:
        changed = (
            node.op == "call_function" and getattr(node.target, "_schema", None) and node.target._schema.is_mutable
        )
        made = node.args[0] if changed else None
        if isinstance(made, Node) and made.op == "call_function" and made.target in MAKERS:
            made.target, made.args = MAKERS[made.target], (anchor, *made.args)
            made.kwargs = {
                "dtype": made.kwargs.get("dtype") or made.meta["val"].dtype,
                "device": made.kwargs.get("device") or made.meta["val"].device,
            }
    module.recompile()
    return module


def _runnable(
    graph: Graph, module: GraphModule, stacked: list[Tensor], place: int, *, compiles: bool
) -> Callable[..., list[Tensor]]:
    whole = dataclasses.replace(graph, module=module, run=module)
    on_gpu = stacked[place].is_cuda
    if compiles:
        whole.compile(**({"triton.cudagraphs": False} if on_gpu else {}))
    run: Callable[..., list[Tensor]] = lambda *tensors: whole.run(*tensors)  # noqa: E731 (compiling replaces it)
    return Captured(run, changing=[place]) if on_gpu and can_be_captured(module) else run
