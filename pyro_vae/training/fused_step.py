"""A training step in one graph: the choice of data, loss, gradients, their check and clipping, and Adam's update."""

from __future__ import annotations

import dataclasses
import operator
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from ..compiled.cuda_graph import Captured
from ..compiled.failures import OutsideSupport, reason
from ..compiled.graph import Graph
from ..compiled.recorded import Recorded
from ..compiled.torch_private import can_be_captured, make_fx
from ..pairs.batch import Points, tensors_of
from .optimizer import OneOptimizer
from .optimizer_private import MOMENTS


class FusedStep:
    """Steps of SVI from one graph, where the recorded loss and the optimizer allow it.

    `Recorded` records loss and gradients in the second step. From the third on, Adam's update is part of the same
    graph, which changes parameters and moments in place: those that the torch optimizer holds, so that a step may be
    taken either way, and states are saved and resumed as ever. A step whose loss or gradient is not finite changes none
    of them. On a GPU the graph is captured as one CUDA graph.

    Args:
        recorded: loss and gradients for its only argument: indices of data points (B,), or the data points.
        optimizer: must hold torch's Adam or AdamW, without amsgrad and with decoupled weight decay.

    Attributes:
        taken: number of steps so far.
    """

    def __init__(self, recorded: Recorded, optimizer: OneOptimizer) -> None:
        self.recorded, self.optimizer = recorded, optimizer
        self.taken = 0
        self._made_of: list[Any] = []
        self._graph: Graph | None = None
        self._settings: list[list[float]] = []

    def __call__(self, batch: Points) -> Tensor | None:
        """Take one step for the data points with these indices (B,), or for these data points.

        Returns:
            Loss, norm of the gradient, and a number that is finite if both are: shape (3,). None if no graph can take
            this step.
        """
        found = self.graph_for(batch)
        if found is None:
            return None
        self.tell_settings()
        try:
            (result,) = self.recorded.replay(*found).results
        except (torch.OutOfMemoryError, OutsideSupport):
            raise
        except Exception as error:
            self._graph = None
            text = f"pyro_vae leaves the optimizer out of the graph of {self.recorded.name}: {reason(error)}."
            warnings.warn(text, RuntimeWarning, stacklevel=2)
            return None
        self.taken += 1
        return result

    def graph_for(self, batch: Points) -> tuple[Graph, list[Tensor]] | None:
        """The graph of a step and its inputs, the optimizer's settings last; None if no graph can take this step."""
        found = self.recorded.graph_for(batch)
        if found is None:
            return None
        graph, inputs = found
        given = {*map(id, tensors_of(batch))}
        held = [tensor for tensor in inputs if id(tensor) not in given]  # in the same memory at every step
        made_of = [graph, self.optimizer.optimizer, *held]
        if len(made_of) != len(self._made_of) or not all(map(operator.is_, made_of, self._made_of)):
            started = time.perf_counter()
            self._made_of, self._graph = made_of, self._extended(graph, inputs)
            self.recorded.compile_seconds += time.perf_counter() - started
        return None if self._graph is None else (self._graph, inputs + self._further)

    def _extended(self, graph: Graph, inputs: list[Tensor]) -> Graph | None:
        """The graph with Adam's update of its parameters; None where the optimizer is another."""
        optimizer = self.optimizer.optimizer
        own = [j for j, i in enumerate(graph.accumulated) if self.optimizer.name_of(inputs[i]) in graph.param_sites]
        params = [graph.accumulated[j] for j in own]
        if optimizer is None or not _can_be_extended(optimizer, [inputs[i] for i in params]):
            return None
        device, dtype = inputs[params[0]].device, inputs[params[0]].dtype
        group_of = {p: i for i, group in enumerate(optimizer.param_groups) for p in group["params"]}
        groups = [group_of[inputs[i]] for i in params]
        moments = [[optimizer.state[inputs[i]][name] for i in params] for name in MOMENTS]
        self._settings = []
        self._told = torch.zeros(len(optimizer.param_groups), 5, dtype=dtype, device=device)
        self._further = [tensor for tensors in moments for tensor in tensors] + [self._told]
        count, clip_norm = len(inputs), self.optimizer.clip_norm

        def step(*tensors: Tensor) -> list[Tensor]:
            inputs, further = tensors[:count], tensors[count:]
            loss, *gradients = graph.module(*inputs)
            gradients = [gradients[j] for j in own]
            means, squares, steps = (further[k * len(own) : (k + 1) * len(own)] for k in range(3))
            norm = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g) for g in gradients]))
            looked_at = norm + 0 * loss
            factor = 1.0 if clip_norm is None else (clip_norm / (norm + 1e-6)).clamp(max=1.0)
            ok, settings = looked_at.isfinite(), further[-1]
            updates = [adam_update(of_group, steps[0] + 1) for of_group in settings.unbind()]
            for i, g, mean, square, taken, group in zip(params, gradients, means, squares, steps, groups, strict=True):
                new = updates[group](inputs[i], g * factor, mean, square)
                for old, value in zip((inputs[i], mean, square, taken), (*new, taken + 1), strict=True):
                    old.copy_(torch.where(ok, value, old))
            return [torch.stack([loss, norm, looked_at])]

        with torch.no_grad():
            module = make_fx(step, tracing_mode="fake")(*inputs, *self._further)
        whole = dataclasses.replace(
            graph, module=module, run=module, accumulated=[], checks_supports=False, has_run=False
        )
        if self.recorded.backend == "inductor" and device.type == "cuda":  # not the compiler's own CUDA graphs: those
            compiled = dataclasses.replace(whole)  # make copies of what is changed in place
            compiled.compile(**{"triton.cudagraphs": False})
            run: Callable[..., list[Tensor]] = lambda *tensors: compiled.run(*tensors)  # noqa: E731 (compiling replaces it)
            whole.run = Captured(run, changing=[i for i, _ in graph.arguments]) if can_be_captured(module) else run
        elif self.recorded.backend == "inductor":
            whole.compile()
        return whole

    def tell_settings(self) -> None:
        """Hand the optimizer's present settings to the graph: schedulers change them."""
        settings = [
            [float(group["lr"]), *(1 - beta for beta in group["betas"]), group["eps"], group["weight_decay"]]
            for group in self.optimizer.optimizer.param_groups  # type: ignore[union-attr]
        ]
        if settings != self._settings:
            self._settings = settings
            told = torch.tensor(settings, dtype=self._told.dtype)  # from pinned memory, nobody waits for the copy
            self._told.copy_(told.pin_memory() if self._told.is_cuda else told, non_blocking=True)


def _can_be_extended(optimizer: Optimizer, params: list[Tensor]) -> bool:
    """Whether the update of these parameters is the one written here."""
    if type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW) or not params:
        return False
    for group in optimizer.param_groups:
        if group["amsgrad"] or group["maximize"] or (group["weight_decay"] and not group["decoupled_weight_decay"]):
            return False
    states = [optimizer.state[p] for p in params]
    device, dtype = params[0].device, params[0].dtype
    return (
        all(state.keys() == set(MOMENTS) for state in states)
        and device.type in ("cpu", "cuda")
        and dtype in (torch.float32, torch.float64)
        and all((p.device, p.dtype) == (device, dtype) for p in params)
        and all(tensor.device == device for state in states for tensor in state.values())  # torch's default on a GPU
        and len({float(state["step"]) for state in states}) == 1  # one joined later: its bias corrections differ
    )


def adam_update(settings: Tensor, taken: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, ...]]:
    """Adam's update as a function of parameter, gradient, mean and mean square; it returns all but the gradient anew.

    Args:
        settings: learning rate, 1 - beta_1, 1 - beta_2, eps and weight decay, shape (5,).
        taken: number of steps with this one, shape ().

    Reference: Kingma and Ba (2015), Adam, order of operations as at the end of section 2; Loshchilov and Hutter (2019),
    Decoupled Weight Decay.
    """
    rate, new_mean, new_square, eps, decay = settings.unbind()
    # As exponentials, not powers: the compiler computes what holds an exponential once, and a power for each element.
    mean_bias, square_bias = (
        1 - torch.exp(taken.double() * torch.log1p(-share.double())) for share in (new_mean, new_square)
    )
    size, floor = ((factor * square_bias.sqrt()).to(settings.dtype) for factor in (rate / mean_bias, eps))

    def update(parameter: Tensor, gradient: Tensor, mean: Tensor, square: Tensor) -> tuple[Tensor, ...]:
        mean = mean + new_mean * (gradient - mean)
        square = square + new_square * (gradient.square() - square)
        return parameter * (1 - rate * decay) - size * mean / (square.sqrt() + floor), mean, square

    return update
