"""A function of tensors that is recorded once, and run compiled from then on: the door of this room."""

from __future__ import annotations

import itertools
import time
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pyro
import torch
from torch import Tensor, nn

from .failures import OutsideSupport, first_line, reason, undone_on_failure
from .graph import Graph, Outcome
from .python_state import PythonState
from .recording import record
from .results import value_of
from .signature import alias, describe, noting_calls, replaced, surroundings
from .torch_private import handlers, lacks_compiler, only_captures_params

MAX_KINDS = 64  # of arguments: with more, a number that always changes is among them
MAX_STATES = 4  # of what Python holds, for one kind of arguments: with more, something always changes


@dataclass
class _Variant:
    """A graph, and what Python held when it was recorded."""

    state: PythonState
    graph: Graph | None = None


class Recorded:
    """A function of tensors whose operations are recorded once and then run compiled, with the same numbers.

    The function may use Pyro, with its effect handlers and its param store, and modules with their own parameters and
    buffers. Calls with arguments of the same shapes share one graph:

    1. the first runs plainly: lazy parameters get made, and Pyro validates supports and shapes;
    2. the second runs plainly once more, and its tensor operations are recorded, gradients and random draws included;
    3. from the third on, only the recorded operations run: Pyro's handlers have acted, and leave no trace.

    Read anew in each call are tensors, wherever they are held (arguments, parameters of the store by name, parameters
    and buffers of modules, a KL weight), and what Python holds in attributes, closures and global variables: numbers,
    flags, which object an attribute is. Another value there, as another kind of arguments, gets a graph of its own; one
    that keeps changing makes the function run plainly, with a warning: hold it in a tensor that is changed in place.

    An observed value outside the support of its site makes the call run plainly, so that Pyro refuses it in its own
    words (on a GPU, where looking would mean to wait, the results are NaN). Parameters of distributions are validated
    in the first call alone. Calls under an effect handler (``with poutine.scale(...): f(x)``) run plainly.

    Random numbers come from torch's own generators in the order of the plain path, so that the same seed gives the same
    results. Before torch 2.13, its compiler may change the order of draws that do not depend on each other, such as
    those of dropout and of z: other numbers, of the same distribution.

    A function that cannot be recorded, because a value decides what is computed, or whose graph fails where it does
    not itself, runs plainly from then on; where compiling fails, its graph runs operation by operation. Either is said
    in one warning, with the reason.

    Args:
        function: takes tensors, also in tuples, lists and dicts, by position or keyword; what else it takes must be
            hashable, and other values get graphs of their own. It returns a tensor, or a tuple, list or dict of them.
            While recording, ``.item()`` returns a tensor, not a number to decide by.
        modules: those it uses.
        backend: "inductor" compiles the graph; "eager" runs it operation by operation, for debugging.
        precision: "bf16" takes matrix products and convolutions in bfloat16, forward and backward; all else stays in
            the precision it has.
        name: what warnings call the function.
        pure: whether calls change nothing and draw nothing from torch's generators. Then the first is made three times,
            so that a graph, which rounds otherwise than the plain path, answers all of them.

    Gradients, first ones: ``.backward()`` may be called inside the function, which adds to the ``.grad`` of leaf
    tensors, or on what it returns if that is one number, of shape (). Through other results it raises, since their
    history is not recorded. Under ``torch.no_grad()`` none is computed.

    Attributes:
        num_graphs: number of graphs recorded so far.
        compile_seconds: time spent recording and compiling so far.

    Raises:
        TypeError: function is not callable, or modules are not modules.
        ValueError: backend or precision is none of the above.

    Reference: Frostig, Johnson and Leary (2018), Compiling machine learning programs via high-level tracing.

    A loss of one's own, and reconstructions, compiled in a line each:

    >>> net = nn.Linear(3, 3)
    >>> loss = Recorded(lambda x: (net(x) - x).square().sum(), [net], backend="eager")
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    >>> for _ in range(200):
    ...     optimizer.zero_grad()
    ...     loss(torch.eye(3)).backward()
    ...     optimizer.step()
    >>> loss.num_graphs, loss(torch.eye(3)).item() < 0.1
    (1, True)
    >>> reconstruct = Recorded(lambda x: {"mean": net(x), "code": x.abs()}, [net], backend="eager")
    >>> with torch.no_grad():
    ...     [reconstruct(torch.ones(2, 3))["mean"].shape for _ in range(3)]
    [torch.Size([2, 3]), torch.Size([2, 3]), torch.Size([2, 3])]
    """

    def __init__(
        self,
        function: Callable[..., Any],
        modules: Iterable[nn.Module],
        *,
        backend: Literal["inductor", "eager"] = "inductor",
        precision: Literal["fp32", "bf16"] = "fp32",
        name: str | None = None,
        pure: bool = False,
    ) -> None:
        check_settings(backend, precision)
        modules = [modules] if isinstance(modules, nn.Module) else list(modules)
        if not callable(function) or not all(isinstance(module, nn.Module) for module in modules):
            raise TypeError(f"Expected a function and the modules that it uses; got {function!r} and {modules!r}.")
        self.function = function
        self.backend, self.precision, self.pure = backend, precision, pure
        self.name = name or getattr(function, "__qualname__", type(function).__qualname__)
        self.num_graphs, self.compile_seconds = 0, 0.0
        self._modules = dict.fromkeys(part for module in modules for part in module.modules())
        self._kinds: dict[Any, list[_Variant]] = {}
        self._left_plain = False
        self._check_supports = True

    def __repr__(self) -> str:
        settings = f"{self.name}, backend={self.backend!r}, precision={self.precision!r}"
        return f"Recorded({settings}; {self.num_graphs} graphs so far)"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns."""
        arguments: list[Tensor] = []
        variants = self._variants(args, kwargs, arguments)
        if variants is None:
            return self._run(args, kwargs)
        variant = next((variant for variant in variants if variant.state.holds()), None)
        if variant is None:
            value = self._meet(variants, args, kwargs)
            return self(*args, **kwargs) if self.pure else value
        if variant.graph is None:
            value = self._record(variant, arguments, args, kwargs)
            return self(*args, **kwargs) if self.pure and variant.graph is not None else value
        inputs = variant.graph.gather(arguments)
        if inputs is None:
            value = self._run(args, kwargs)  # in another scope of the param store, this makes the parameters
            if variant.graph.gather(arguments) is None:
                variant.graph = None
            return value
        try:
            outcome = self.replay(variant.graph, inputs)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            value = self._run(args, kwargs)  # what is wrong with the values it says itself
            self._distrust(variant, error)
            return value
        return value_of(outcome)

    def graph_for(self, *args: Any) -> tuple[Graph, list[Tensor]] | None:
        """The graph that would run for these arguments, and its inputs; None where the function would run plainly."""
        arguments: list[Tensor] = []
        for variant in self._variants(args, {}, arguments) or ():
            if variant.graph is not None and variant.state.holds():
                inputs = variant.graph.gather(arguments)
                return None if inputs is None else (variant.graph, inputs)
        return None

    def replay(self, graph: Graph, inputs: list[Tensor]) -> Outcome:
        """Run a graph, operation by operation from the day that compiling fails.

        Raises:
            Exception: it fails, or an observed value lies outside its support; buffers and random numbers are put back.
        """
        started, first, graph.has_run = time.perf_counter(), not graph.has_run, True
        try:
            with undone_on_failure(self._modules, runs_python=False):
                outcome = graph(inputs)
                if outcome.supports is not None and not graph.on_gpu and not outcome.supports.all():
                    raise OutsideSupport
                return outcome
        except (torch.OutOfMemoryError, OutsideSupport):
            raise
        except Exception as error:
            if graph.run is graph.module:
                raise
            with undone_on_failure(self._modules, runs_python=False):
                graph.run = graph.module
                outcome = graph(inputs)
            self.backend = "eager"
            for met in itertools.chain.from_iterable(self._kinds.values()):
                if met.graph is not None:
                    met.graph.run = met.graph.module
            cure = ". On a CPU it needs a C++ compiler, such as g++" if lacks_compiler(error) else ""
            self._warn(f"runs {self.name} operation by operation: torch.compile failed with {first_line(error)}{cure}")
            return outcome
        finally:
            if first:  # torch.compile works at the first call
                self.compile_seconds += time.perf_counter() - started

    def _variants(self, args: Any, kwargs: Any, arguments: list[Tensor]) -> list[_Variant] | None:
        """What is known of this kind of arguments, which are collected; None where the function runs plainly."""
        if self._left_plain or not all(map(only_captures_params, handlers())):
            return None
        key = describe((args, kwargs), arguments), *surroundings()
        try:
            variants = self._kinds.setdefault(key, [])
        except TypeError:
            why = "an argument is neither a tensor nor hashable; pass it as a tensor"
        else:
            if len(self._kinds) <= MAX_KINDS:
                return variants
            why = f"met {MAX_KINDS} kinds of arguments; pass numbers that change as tensors"
        self._leave_plain(why)
        return None

    def _run(self, args: Any, kwargs: Any) -> Any:
        with noting_calls(self._modules):
            return self.function(*args, **kwargs)

    def _meet(self, variants: list[_Variant], args: Any, kwargs: Any) -> Any:
        """The first call of its kind: the next one like it is recorded."""
        value = self._run(args, kwargs)
        if len(variants) < MAX_STATES:
            objects: list[Any] = [*self._modules]
            describe((args, kwargs), [], objects)
            variants.append(_Variant(PythonState(self.function, objects)))
        else:
            names = ", ".join(place.name for place in variants[-1].state.changed())
            self._leave_plain(f"{names} keeps changing; hold it in a tensor that is changed in place, with .fill_()")
        return value

    def _record(self, variant: _Variant, arguments: list[Tensor], args: Any, kwargs: Any) -> Any:
        """The second call of its kind."""
        started, before = time.perf_counter(), pyro.util.get_rng_state()
        given = iter(aliases := [alias(argument) for argument in arguments])
        args_, kwargs_ = replaced((args, kwargs), lambda _: next(given))
        try:
            with undone_on_failure(self._modules, runs_python=True):
                outcome, graph = record(
                    lambda: self.function(*args_, **kwargs_), aliases, check_supports=self._check_supports
                )
                if outcome.supports is not None and not outcome.supports.all():
                    raise OutsideSupport
        except OutsideSupport:
            value = self._run(args, kwargs)
            self._check_supports = False
            return value
        except Exception as error:
            self._leave_plain(reason(error))
            return self._run(args, kwargs)
        real = dict(zip(map(id, aliases), arguments, strict=True))
        outcome = outcome.of(lambda leaf: real.get(id(leaf), leaf))
        changed, after = variant.state.changed(), pyro.util.get_rng_state()
        if any(place.is_plain() for place in changed):
            names = ", ".join(place.name for place in changed if place.is_plain())
            self._leave_plain(f"each call changes {names}, which a graph would not")
        elif after["random"] != before["random"] or after["numpy"][2:] != before["numpy"][2:]:  # places in the streams
            self._leave_plain("it draws random numbers from Python or NumPy; draw them from torch")
        elif graph is not None:
            variant.state.forget(changed)
            graph.prepare(self.backend, self.precision)
            variant.graph = graph
            self.num_graphs += 1
        self.compile_seconds += time.perf_counter() - started
        return value_of(outcome)

    def _distrust(self, variant: _Variant, error: Exception) -> None:
        """A graph failed for arguments with which the function does not."""
        variant.graph = None
        if isinstance(error, OutsideSupport):  # such values pass where validation is off for a distribution
            self._check_supports = False
        else:
            self._leave_plain(f"its graph failed with {reason(error)}")

    def _leave_plain(self, why: str) -> None:
        self._left_plain = True
        self._kinds.clear()
        self._warn(f"leaves {self.name} uncompiled: {why}")

    def _warn(self, text: str) -> None:
        warnings.warn(f"pyro_vae {text}.", RuntimeWarning, stacklevel=5)


def check_settings(backend: str, precision: str) -> None:
    """Refuse a backend or precision that there is not."""
    if backend not in ("inductor", "eager"):
        raise ValueError(f"Expected backend 'inductor' or 'eager'; got {backend!r}.")
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"Expected precision 'fp32' or 'bf16'; got {precision!r}.")
