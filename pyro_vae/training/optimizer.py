"""One torch optimizer over all parameters of a Pyro pair, for use with Pyro's own `SVI`."""

import copy
import functools
import math
import operator
from collections.abc import Callable, Iterable
from typing import Any

import pyro
import torch
from pyro.optim import PyroOptim
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from ..arguments.at_least import at_least
from .optimizer_private import skip_step_if

MakeOptimizer = Callable[[list[Tensor]], Optimizer]
MakeScheduler = Callable[[Optimizer], LRScheduler]


class NonFiniteGradient(FloatingPointError):
    """The total norm of the gradient is NaN or infinite; the step was not taken."""


def adam(
    lr: float = 1e-3, *, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.0
) -> MakeOptimizer:
    """Adam for `OneOptimizer`, with torch's fused kernel where the parameters allow it.

    Weight decay is decoupled from the gradient (AdamW); 0 is plain Adam.

    Reference: Kingma and Ba (2015), Adam; Loshchilov and Hutter (2019), Decoupled Weight Decay.

    >>> optimizer = adam(lr=0.01)([torch.nn.Parameter(torch.zeros(3))])
    >>> optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["fused"]
    (0.01, True)
    """
    if not (lr >= 0 and math.isfinite(lr)):
        raise ValueError(f"Expected a finite learning rate >= 0; got lr={lr}.")

    def make(params: list[Tensor]) -> Optimizer:
        fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in params)
        return torch.optim.AdamW(params, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, fused=fused or None)

    return make


def _factory(optimizer: Any) -> MakeOptimizer:
    """The function that makes an optimizer from a list of parameters: ``adam()`` for None.

    Raises:
        TypeError: it is no such function. A torch optimizer holds parameters already, and which ones is not checked; an
            optimizer of `pyro.optim` with a scheduler, clipping or settings for each parameter has no one meaning here.
    """
    if optimizer is None:
        return adam()
    if type(optimizer) is PyroOptim and isinstance(optimizer.pt_optim_args, dict) and not optimizer.pt_clip_args:
        return functools.partial(optimizer.pt_optim_constructor, **optimizer.pt_optim_args)
    if isinstance(optimizer, (Optimizer, PyroOptim)) or not callable(optimizer):
        raise TypeError(
            f"Expected optimizer to be a function that makes a torch optimizer from a list of parameters; got "
            f"{type(optimizer).__name__}. Give adam(lr=1e-3), or lambda params: torch.optim.SGD(params, lr=1e-2)."
        )
    return optimizer


class OneOptimizer(PyroOptim):
    """One torch optimizer over all parameters, where `pyro.optim` keeps one for each of them.

    A parameter without a gradient is left as it is. After a step the gradients are freed, which also spares `SVI` from
    filling them with zeros.

    Args:
        make_optimizer: called at the first step with the unconstrained parameters, in the order of their names in the
            param store. `SVI` hands over the parameters of the sites it meets: where a branch brings a new one later,
            or the store holds another tensor under a name, it is called again with all, and each keeps its state. It
            must return as many parameter groups as before. ``adam()`` by default; an optimizer of `pyro.optim` with
            plain settings stands for its torch optimizer.
        make_scheduler: called with the optimizer; the scheduler is stepped once after each of its steps.
        clip_norm: gradients of a total Euclidean norm above this are scaled down to it.
        check_every: the host looks at the gradient norm once in so many steps, for which it waits on a GPU. In between,
            a fused optimizer skips a step of non-finite gradient on the device, so that no such step ever changes a
            parameter; with other optimizers it looks at every step.

    Attributes:
        last_grad_norm: total norm before clipping, shape (), on the parameters' device; None at first.
        as_made: classes and settings of optimizer and scheduler before their first step; empty at first.

    Raises:
        TypeError: make_optimizer or make_scheduler makes none.
        NonFiniteGradient: on a step whose total gradient norm is not finite; names the parameters.

    >>> from torch.distributions import constraints
    >>> def model():
    ...     scale = pyro.param("scale", torch.tensor(1.0), constraint=constraints.positive)
    ...     pyro.sample("x", pyro.distributions.Normal(0.0, scale), obs=torch.tensor(2.0))
    >>> with pyro.get_param_store().scope():
    ...     optimizer = OneOptimizer(adam(lr=0.1), clip_norm=10.0)
    ...     svi = pyro.infer.SVI(model, lambda: None, optimizer, pyro.infer.Trace_ELBO())
    ...     losses = [svi.step() for _ in range(100)]
    ...     print(f"{pyro.param('scale').item():.1f}")
    2.0
    """

    def __init__(
        self,
        make_optimizer: MakeOptimizer | PyroOptim | None = None,
        *,
        make_scheduler: MakeScheduler | None = None,
        clip_norm: float | None = None,
        check_every: int = 1,
    ) -> None:
        if clip_norm is not None and not clip_norm > 0:
            raise ValueError(f"Expected clip_norm > 0, or None for no clipping; got {clip_norm}.")
        at_least(1, check_every=check_every)
        if make_scheduler is not None and not callable(make_scheduler):
            raise TypeError(
                f"Expected a function that makes a scheduler from the optimizer; got {type(make_scheduler).__name__}. "
                f"Give lambda optimizer: torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.999)."
            )
        self.make_optimizer = _factory(make_optimizer)
        super().__init__(self.make_optimizer, {})
        self.make_scheduler = make_scheduler
        self.clip_norm = clip_norm
        self.check_every = check_every
        self.last_grad_norm: Tensor | None = None
        self.optimizer: Optimizer | None = None
        self.scheduler: LRScheduler | None = None
        self.as_made: dict[str, Any] = {}
        self._names: dict[Tensor, str] = {}
        self._waiting: dict[str, Any] = {"parameters": {}, "groups": None, "scheduler": None}  # for their parameters
        self._steps = 0
        self._norms: Tensor | None = None  # sum of the norms that the host has not looked at
        self._watched: Tensor | None = None

    def __call__(self, params: Iterable[Tensor], *args: Any, **kwargs: Any) -> None:
        """Take one step of the parameters given, by their `.grad`; further arguments go to the optimizer."""
        params = set(params)
        if new := params - self._names.keys():
            self._meet(new)
        for absent in self._names.keys() - params:  # else momentum would still move them
            absent.grad = None
        held = [p for p in self._names if p.grad is not None]
        if held:
            assert self.optimizer is not None
            try:
                self._guard(held)
                self.optimizer.step(*args, **kwargs)
            finally:
                for p in held:
                    p.grad = None
            if self.scheduler is not None:
                self.scheduler.step()

    def watch(self, value: Tensor) -> None:
        """Let the next step also count as one of non-finite gradient if value, such as its loss, is not finite."""
        self._watched = value.detach()

    def stepped(self, norm: Tensor, looked_at: Tensor) -> None:
        """Account for a step that a graph took with this optimizer's own parameters and state.

        Args:
            norm: total norm of the gradient before clipping.
            looked_at: not finite where the graph skipped the step.
        """
        self._note(norm, looked_at)
        if self._steps % self.check_every == 0:
            self.check()
        if self.scheduler is not None:
            self.scheduler.step()

    def check(self) -> None:
        """Look at the gradient norms since the last look; raises `NonFiniteGradient`."""
        norms, self._norms = self._norms, None
        if norms is None or math.isfinite(norms.item()):
            return
        bad = [name for p, name in self._names.items() if p.grad is not None and not p.grad.isfinite().all()]
        where = "in " + ", ".join(bad) if bad else f"within the last {self.check_every} steps"
        raise NonFiniteGradient(
            f"Expected a finite gradient; got NaN or infinity {where}, step {self._steps}. The parameters were "
            "not changed by it. Try a lower learning rate or clip_norm, or look at the data of this step."
        )

    def metrics(self) -> dict[str, float]:
        """Learning rate (of the first group) and norm of the gradient at the last step.

        Raises:
            ValueError: there was no gradient for any parameter.
        """
        if self.optimizer is None or self.last_grad_norm is None:
            raise ValueError(
                "Expected a loss that depends on the parameters; got no gradient for any of them. Look at the "
                "objective (num_particles at least 1) and at what the model and guide do with their parameters."
            )
        return {"learning_rate": self.optimizer.param_groups[0]["lr"], "grad_norm": self.last_grad_norm.item()}

    def get_state(self) -> dict[str, Any]:
        """A copy of the state, by names in the param store; with the parameters it resumes a run exactly."""
        state = copy.deepcopy(self._waiting) | {"steps": self._steps}
        if self.optimizer is not None:
            held = {name: self.optimizer.state[p] for p, name in self._names.items() if p in self.optimizer.state}
            state["parameters"] |= copy.deepcopy(held)
            state["groups"] = copy.deepcopy([_settings(group) for group in self.optimizer.param_groups])
        if self.scheduler is not None:
            state["scheduler"] = copy.deepcopy(self.scheduler.state_dict())
        return state

    def set_state(self, state_dict: dict[str, Any]) -> None:
        """Continue from a state of `get_state`; parameters not met yet receive theirs when they are."""
        self._waiting, self._norms = copy.deepcopy(state_dict), None
        self._steps = self._waiting.pop("steps")
        if self._names:
            self._build()

    def _guard(self, held: list[Tensor]) -> None:
        """Measure, check and clip the gradients."""
        assert self.optimizer is not None
        gradients = [p.grad for p in held if p.grad is not None]
        norm = get_total_norm(gradients)
        looked_at = norm if self._watched is None else norm + 0 * self._watched
        self._watched = None
        self._note(norm, looked_at)
        skips = self.check_every > 1 and self.optimizer.defaults.get("fused")
        if skips:
            skip_step_if(self.optimizer, looked_at.isfinite().logical_not())
        if not skips or self._steps % self.check_every == 0:
            self.check()
        if self.clip_norm is not None:
            clip_grads_with_norm_(held, self.clip_norm, norm)

    def _note(self, norm: Tensor, looked_at: Tensor) -> None:
        self.last_grad_norm = norm
        # One NaN or infinity stays in the sum, so that a single number tells of all steps since the last look.
        self._norms = looked_at if self._norms is None else self._norms + looked_at
        self._steps += 1

    def name_of(self, parameter: Tensor) -> str | None:
        """Its name in the param store, where it has joined."""
        return self._names.get(parameter)

    def _meet(self, new: set[Tensor]) -> None:
        """Take in parameters not met before."""
        store = pyro.get_param_store()
        self._waiting = self.get_state()
        for p in new:
            name = store.param_name(p)
            if name is None:
                raise ValueError(
                    f"Expected parameters of the current param store; got one of shape {tuple(p.shape)} that is "
                    "not in it. Make and step the optimizer inside the same param store scope."
                )
            if name in self._names.values():  # under which the store now holds another tensor: it starts afresh
                self._names = {old: of for old, of in self._names.items() if of != name}
                self._waiting["parameters"].pop(name, None)
            self._names[p] = name
        self._build()

    def _build(self) -> None:
        """Make the optimizer over all parameters and give each the state that waits under its name."""
        # SVI hands over an unordered set: the order of names makes runs and saved states repeatable.
        self._names = dict(sorted(self._names.items(), key=operator.itemgetter(1)))
        self.optimizer = self.make_optimizer(list(self._names))
        self.scheduler = None if self.make_scheduler is None else self.make_scheduler(self.optimizer)
        if isinstance(self.scheduler, ReduceLROnPlateau):
            raise ValueError("Expected a scheduler that is stepped without a metric; got ReduceLROnPlateau.")
        self.as_made = {"optimizer": type(self.optimizer).__name__, "scheduler": type(self.scheduler).__name__}
        self.as_made["groups"] = copy.deepcopy([_settings(group) for group in self.optimizer.param_groups])
        if self.scheduler is not None:
            self.as_made["schedule"] = copy.deepcopy(self.scheduler.state_dict())
        waiting, groups = self._waiting["parameters"], self._waiting["groups"]
        if groups is None:
            return
        made = self.optimizer.state_dict()["param_groups"]
        if len(groups) != len(made):
            raise ValueError(
                f"Expected {len(groups)} parameter groups, as before; make_optimizer returned {len(made)}. Let it "
                f"return the same groups for any parameters."
            )
        names = [self._names[p] for group in self.optimizer.param_groups for p in group["params"]]
        states = {i: waiting[name] for i, name in enumerate(names) if name in waiting}
        restored = [{**saved, "params": group["params"]} for saved, group in zip(groups, made, strict=True)]
        self.optimizer.load_state_dict({"state": states, "param_groups": restored})
        if self.scheduler is not None and self._waiting["scheduler"] is not None:
            self.scheduler.load_state_dict(self._waiting["scheduler"])


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}
