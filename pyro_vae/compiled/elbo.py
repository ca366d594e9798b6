"""A Pyro objective that runs from a recorded graph of its tensor operations, compiled."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from pyro.infer import ELBO
from pyro.poutine.runtime import _PYRO_STACK
from torch import Tensor, nn

from ..pairs.modules import modules_of
from .cross_entropy import cross_entropies_by_products
from .matmul import products_by_onednn, products_in_bf16
from .recording import Graph, Outcome, first_line, reason, record, undone_on_failure
from .signature import aliased, describe, noting_calls, only_captures_params, surroundings

# With more kinds of arguments than this, a pair is passed a number that always changes: leave it plain.
MAX_GRAPHS = 64


class CompiledELBO(ELBO):
    """A Pyro ELBO whose step is recorded once and then run compiled, with the same numbers.

    Used where `JitTrace_ELBO` is: `SVI(model, guide, optimizer, CompiledELBO(Trace_ELBO()))`, for any
    objective and any pair that Pyro's `SVI` takes. Calls with the same shapes share one graph:

    1. the first runs plainly: lazy parameters get made, and Pyro validates supports and shapes;
    2. the second runs plainly once more while its tensor operations are recorded (Pyro's handlers act,
       but leave no trace), with the gradients, batch-norm updates and random draws;
    3. from the third on, only the recorded operations run.

    Every tensor the pair meets is read anew in each call: arguments, parameters of the store by name,
    buffers, and tensors held anywhere else, such as a KL weight. Update those in place: what else Python
    holds (numbers, which object an attribute is, which branch was taken) stays as it was when recorded.
    Once recorded, values are not validated: data outside the support, later on, shows as a wrong or
    non-finite loss. Calls under an effect handler (`with poutine.scale(...): svi.step(x)`) run plainly;
    put handlers around model and guide instead.

    Random numbers come from torch's own generators in the order of the plain path, so that the same seed
    gives the same losses and gradients. Before torch 2.13, its compiler may change the order of draws that do
    not depend on each other, such as those of dropout and of z: other numbers, of the same distribution.

    An objective of your own needs nothing special: its `loss_and_grads` and `loss` are recorded as they are,
    as long as they read tensors only by `.item()`, for what they return, and get gradients by `.backward()`
    (while recording, `.item()` returns a tensor, not a number to decide by). No more than one loss is returned.

    A pair that cannot be recorded, because a value decides what is computed, runs plainly from then on;
    without a compiler its graph runs operation by operation. Either is said in one warning.

    Args:
        elbo: the objective to record; it is left as it is.
        backend: "inductor" compiles the graph; "eager" runs it operation by operation, for debugging.
        precision: "bf16" takes matrix products and convolutions in bfloat16, forward and backward;
            parameters, likelihood and KL stay float32.
        settled: between calls of `loss` the arguments alone change, as in evaluation: what a compiled graph makes of
            parameters alone, such as the components of a VampPrior, is computed at its first call only.

    Attributes:
        num_graphs: number of graphs recorded so far.
        compile_seconds: time spent recording and compiling so far.

    Returns from `loss_and_grads` and `loss`: the objective's own loss, in its unit and sign (for Pyro's
    objectives the negative bound in nats, summed over the batch), as a tensor of shape () once recorded,
    so that nothing waits for a GPU; `SVI.step` turns it into a float.

    Reference: Frostig, Johnson and Leary (2018), Compiling machine learning programs via high-level tracing.

    >>> import pyro
    >>> def model(x):
    ...     z = pyro.sample("z", pyro.distributions.Normal(0.0, 1.0))
    ...     pyro.sample("x", pyro.distributions.Normal(z, 1.0), obs=x)
    >>> def guide(x):
    ...     pyro.sample("z", pyro.distributions.Normal(pyro.param("loc", torch.tensor(0.0)), 0.7))
    >>> with pyro.get_param_store().scope():
    ...     elbo = CompiledELBO(pyro.infer.Trace_ELBO(), backend="eager")
    ...     svi = pyro.infer.SVI(model, guide, pyro.optim.Adam({"lr": 0.03}), elbo)
    ...     losses = [svi.step(torch.tensor(2.0)) for _ in range(400)]
    ...     print(elbo.num_graphs, f"{pyro.param('loc').item():.0f}")
    1 1
    """

    def __init__(
        self,
        elbo: ELBO,
        *,
        backend: Literal["inductor", "eager"] = "inductor",
        precision: Literal["fp32", "bf16"] = "fp32",
        settled: bool = False,
    ) -> None:
        if not isinstance(elbo, ELBO) or isinstance(elbo, CompiledELBO):
            raise TypeError(f"Expected a pyro.infer.ELBO, such as Trace_ELBO(); got {elbo!r}.")
        if backend not in ("inductor", "eager"):
            raise ValueError(f"Expected backend 'inductor' or 'eager'; got {backend!r}.")
        if precision not in ("fp32", "bf16"):
            raise ValueError(f"Expected precision 'fp32' or 'bf16'; got {precision!r}.")
        super().__init__(num_particles=elbo.num_particles, vectorize_particles=elbo.vectorize_particles)
        self.elbo = elbo
        self.backend = backend
        self.precision = precision
        self.settled = settled
        self.num_graphs = 0
        self.compile_seconds = 0.0
        self._graphs: dict[Any, Graph | None] = {}  # None: met once
        self._modules: dict[Any, dict[nn.Module, None]] = {}  # those each pair was seen to call
        self._plain: set[Any] = set()

    def __repr__(self) -> str:
        settings = f"{type(self.elbo).__name__}, backend={self.backend!r}, precision={self.precision!r}"
        return f"CompiledELBO({settings}; {self.num_graphs} graphs so far)"

    def loss_and_grads(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor | float:
        """The loss; gradients are added to the `.grad` of all parameters it depends on."""
        outcome = self._call("loss_and_grads", "loss_and_grads", model, guide, args, kwargs)
        if not isinstance(outcome, Outcome):
            return outcome
        for leaf, gradient in zip(outcome.leaves, outcome.gradients, strict=True):
            leaf.grad = gradient if leaf.grad is None else leaf.grad + gradient
        return outcome.loss

    def loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor | float:
        """The loss alone, for evaluation."""
        outcome = self._call("loss", "loss", model, guide, args, kwargs)
        return outcome.loss if isinstance(outcome, Outcome) else outcome

    def differentiable_loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor:
        """The loss as a tensor that knows its first derivatives, to call `.backward()` on."""
        outcome = self._call("loss_and_grads", "differentiable_loss", model, guide, args, kwargs)
        if not isinstance(outcome, Outcome):
            return outcome
        return _KnownGradients.apply(outcome.loss, outcome.gradients, *outcome.leaves)

    def _get_trace(self, model: Callable, guide: Callable, args: Any, kwargs: Any) -> Any:
        return self.elbo._get_trace(model, guide, args, kwargs)

    def _call(self, method: str, plain: str, model: Callable, guide: Callable, args: Any, kwargs: Any) -> Any:
        """Replay or record `method` of the objective, else return what its method `plain` does."""
        pair = (model, guide)
        modules = self._modules.get(pair)
        if modules is None:
            owned = (m for owner in modules_of(model, guide).values() for m in owner.modules())
            modules = self._modules[pair] = dict.fromkeys(owned)

        def run_plainly() -> Any:
            with noting_calls(modules):
                return getattr(self.elbo, plain)(model, guide, *args, **kwargs)

        if pair in self._plain or not all(map(only_captures_params, _PYRO_STACK)):
            return run_plainly()
        arguments: list[Tensor] = []
        key = (method, pair, describe((args, kwargs), arguments), *surroundings(modules))
        try:
            graph = self._graphs.get(key)
        except TypeError:
            self._leave_plain(pair, "an argument is neither a tensor nor hashable; pass it as a tensor")
            return run_plainly()

        if graph is not None:
            inputs = graph.gather(arguments)
            if inputs is not None:
                return self.replay(graph, inputs)
            found = run_plainly()  # in another scope of the param store, this makes the parameters
            if graph.gather(arguments) is None:
                self._graphs[key] = None
            return found
        if key not in self._graphs:
            if len(self._graphs) >= MAX_GRAPHS:
                why = f"met {MAX_GRAPHS} kinds of arguments; pass numbers that change as tensors"
                self._leave_plain(pair, why)
            self._graphs[key] = None
            return run_plainly()

        started = time.perf_counter()
        aliases: list[Tensor] = []  # new objects, to tell an argument from the same tensor held elsewhere
        args_, kwargs_ = aliased((args, kwargs), aliases)
        try:
            with undone_on_failure(modules):
                outcome, graph = record(lambda: getattr(self.elbo, method)(model, guide, *args_, **kwargs_), aliases)
        except Exception as error:
            self._leave_plain(pair, reason(error))
            return run_plainly()
        if graph is not None:
            self.num_graphs += 1
            if self.settled and method == "loss":
                graph.settle()
            if self.precision == "bf16":
                products_in_bf16(graph.module)
            elif self.backend == "inductor":
                products_by_onednn(graph.module)
            if self.backend == "inductor":
                cross_entropies_by_products(graph.module)
                graph.compile()
            self._graphs[key] = graph
        self.compile_seconds += time.perf_counter() - started
        return outcome

    def recorded(self, model: Callable, guide: Callable, *args: Any) -> tuple[Graph, list[Tensor]] | None:
        """The graph that `loss_and_grads` would run for these arguments, and its inputs; None where there is none."""
        pair = (model, guide)
        if pair not in self._modules or pair in self._plain or not all(map(only_captures_params, _PYRO_STACK)):
            return None
        arguments: list[Tensor] = []
        key = ("loss_and_grads", pair, describe((args, {}), arguments), *surroundings(self._modules[pair]))
        graph = self._graphs.get(key)
        inputs = None if graph is None else graph.gather(arguments)
        return None if graph is None or inputs is None else (graph, inputs)

    def replay(self, graph: Graph, inputs: list[Tensor]) -> Outcome:
        """Run a graph, operation by operation from the day that compiling fails."""
        started = time.perf_counter()
        try:
            return graph(inputs)
        except Exception as error:
            if graph.run is graph.module or isinstance(error, torch.OutOfMemoryError):
                raise
            warnings.warn(
                f"CompiledELBO runs its graphs operation by operation: torch.compile failed with "
                f"{first_line(error)}. On a CPU it needs a C++ compiler, such as g++.",
                RuntimeWarning,
                stacklevel=4,
            )
            self.backend = "eager"
            for other in filter(None, self._graphs.values()):
                other.run = other.module
            graph.run = graph.module
            return graph(inputs)
        finally:
            if not graph.met:  # torch.compile works at the first call
                graph.met = True
                self.compile_seconds += time.perf_counter() - started

    def _leave_plain(self, pair: tuple[Callable, Callable], why: str) -> None:
        self._plain.add(pair)
        names = " and ".join(getattr(fn, "__qualname__", type(fn).__qualname__) for fn in pair)
        warnings.warn(f"CompiledELBO leaves {names} uncompiled: {why}.", RuntimeWarning, stacklevel=4)


class _KnownGradients(torch.autograd.Function):
    """A loss whose gradients were computed along with it."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor, gradients: list[Tensor], *leaves: Tensor) -> Tensor:
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *outer: Tensor) -> Any:
        return None, None, *(outer[0] * gradient for gradient in ctx.gradients)
