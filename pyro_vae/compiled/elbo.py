"""A Pyro objective that runs from a recorded graph of its tensor operations, compiled."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

from pyro.infer import ELBO
from torch import Tensor

from ..pairs.modules import modules_of
from .recorded import Recorded, check_settings


class CompiledELBO(ELBO):
    """A Pyro ELBO whose step is recorded once and then run compiled, with the same numbers.

    Used where `JitTrace_ELBO` is: `SVI(model, guide, optimizer, CompiledELBO(Trace_ELBO()))`, for any objective and any
    pair that Pyro's `SVI` takes. What is recorded, what is read anew in each call and what runs plainly is said in
    `Recorded`; each pair has graphs of its own.

    An objective of your own needs nothing special: its `loss_and_grads` and `loss` are recorded as they are, as long as
    they read tensors only by `.item()`, for what they return, and get gradients by `.backward()`.

    Args:
        elbo: the objective to record; it is left as it is.
        backend: "inductor" compiles the graph; "eager" runs it operation by operation, for debugging.
        precision: "bf16" takes matrix products and convolutions in bfloat16, forward and backward;
            parameters, likelihood and KL stay float32.

    Attributes:
        num_graphs: number of graphs recorded so far.
        compile_seconds: time spent recording and compiling so far.

    Returns from `loss_and_grads` and `loss`: the objective's own loss, in its unit and sign (for Pyro's
    objectives the negative bound in nats, summed over the batch), as a tensor of shape () once recorded,
    so that nothing waits for a GPU; `SVI.step` turns it into a float.

    Raises:
        TypeError: elbo is not an objective.
        ValueError: backend or precision is none of the above.

    >>> import pyro, torch
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
    ) -> None:
        if not isinstance(elbo, ELBO) or isinstance(elbo, CompiledELBO):
            raise TypeError(f"Expected a pyro.infer.ELBO, such as Trace_ELBO(); got {elbo!r}.")
        check_settings(backend, precision)
        super().__init__(num_particles=elbo.num_particles, vectorize_particles=elbo.vectorize_particles)
        self.elbo = elbo
        self.backend = backend
        self.precision = precision
        self._recorded: dict[Any, Recorded] = {}

    @property
    def num_graphs(self) -> int:
        return sum(recorded.num_graphs for recorded in self._recorded.values())

    @property
    def compile_seconds(self) -> float:
        return sum(recorded.compile_seconds for recorded in self._recorded.values())

    def __repr__(self) -> str:
        settings = f"{type(self.elbo).__name__}, backend={self.backend!r}, precision={self.precision!r}"
        return f"CompiledELBO({settings}; {self.num_graphs} graphs so far)"

    def loss_and_grads(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor | float:
        """The loss; gradients are added to the `.grad` of all parameters it depends on."""
        return self.recorded("loss_and_grads", model, guide)(*args, **kwargs)

    def loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor | float:
        """The loss alone, for evaluation."""
        return self.recorded("loss", model, guide)(*args, **kwargs)

    def differentiable_loss(self, model: Callable, guide: Callable, *args: Any, **kwargs: Any) -> Tensor:
        """The loss as a tensor that knows its first derivatives, to call `.backward()` on."""
        return self.recorded("differentiable_loss", model, guide)(*args, **kwargs)

    def recorded(self, method: str, model: Callable, guide: Callable) -> Recorded:
        """A method of the objective for one pair, as a function of the pair's arguments."""
        key = method, model, guide
        if key not in self._recorded:
            bound = functools.partial(getattr(self.elbo, method), model, guide)
            self._recorded[key] = self.recording(bound, model, guide)
        return self._recorded[key]

    def recording(self, function: Callable, model: Callable, guide: Callable) -> Recorded:
        """A function that runs a pair, with the settings of this objective."""
        settings: Any = {"backend": self.backend, "precision": self.precision, "name": pair_name(model, guide)}
        return Recorded(function, modules_of(model, guide).values(), **settings)

    def _get_trace(self, model: Callable, guide: Callable, args: Any, kwargs: Any) -> Any:
        return self.elbo._get_trace(model, guide, args, kwargs)


def pair_name(model: Callable, guide: Callable) -> str:
    """What warnings call a pair."""
    return " and ".join(getattr(function, "__qualname__", type(function).__qualname__) for function in (model, guide))
