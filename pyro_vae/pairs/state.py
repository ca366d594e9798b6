"""A copy of all that is trained in a pair, and how to put it back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from .modules import Callee, is_bound, modules_of, under


def loose(params: dict[str, Tensor]) -> dict[str, Tensor]:
    """The parameters of a store that ``pyro.param`` made; those of modules are `nn.Parameter`, or named by ``$$$``."""
    return {name: p for name, p in params.items() if not isinstance(p, nn.Parameter) and "$$$" not in name}


def with_store(model: Callee, guide: Callee, state: Any) -> tuple[Callee, Callee]:
    """The pair, run with the parameters of a param-store state, the caller's store left as it was.

    Methods of modules hold the parameters of these modules themselves, whatever the state: {"params": unconstrained
    tensors, "constraints": ...} by name, as ``get_param_store().get_state()``. A constraint that is missing is the one
    that the pair gives to ``pyro.param``.
    """
    params = loose(state["params"]) if is_bound(model, guide) else dict(state["params"])
    if not params:
        return model, guide
    given = _Given(params, {name: c for name, c in state["constraints"].items() if name in params})
    return under(given.in_store, model), under(given.in_store, guide)


class _Given(Messenger):
    """Puts parameters into the store when they are first asked for."""

    def __init__(self, params: dict[str, Tensor], constraints: dict[str, Any]) -> None:
        super().__init__()
        self.params, self.constraints = params, constraints

    @contextmanager
    def in_store(self) -> Iterator[None]:
        known = {name: self.params[name] for name in self.constraints}
        with pyro.get_param_store().scope({"params": known, "constraints": dict(self.constraints)}), self:
            yield

    def _pyro_param(self, msg: Any) -> None:
        name = msg["name"]
        if name in self.params and name not in self.constraints:
            if len(msg["args"]) < 2:
                raise ValueError(
                    f"Expected an initial value and the constraint of the parameter {name!r} where it is first used; "
                    f"got its name alone. Write pyro.param({name!r}, initial, constraint=...) in model and guide."
                )
            self.constraints[name] = msg["kwargs"]["constraint"]
            store = pyro.get_param_store()
            store.set_state({"params": {name: self.params[name]}, "constraints": {name: self.constraints[name]}})


def get_state(modules: dict[str, nn.Module], store: Any) -> dict[str, Tensor]:
    """A copy of all that is trained: "NAME.KEY" for modules, "param.NAME" (unconstrained) for other parameters."""
    state = {f"{name}.{key}": value for name, m in modules.items() for key, value in m.state_dict().items()}
    state |= {f"param.{name}": p for name, p in _held_by_none(modules, store).items()}
    return {key: value.detach().clone() for key, value in state.items()}


def set_state(modules: dict[str, nn.Module], store: Any, state: dict[str, Tensor]) -> None:
    """Put a state of `get_state` back, in place."""
    for name, m in modules.items():
        m.load_state_dict({key: state[f"{name}.{key}"] for key in m.state_dict()})
    with torch.no_grad():
        for name, p in _held_by_none(modules, store).items():
            if f"param.{name}" in state:  # a parameter made since then keeps its value
                p.copy_(state[f"param.{name}"])


def loaded_pair(model: Callee, guide: Callee, state: dict[str, Tensor]) -> tuple[Callee, Callee]:
    """The pair with a state of `get_state` in its modules, of the same names, types and shapes, bound to the parameters
    that belong to none."""
    modules = modules_of(model, guide)
    wanted = {f"{name}.{key}": tensor for name, m in modules.items() for key, tensor in m.state_dict().items()}
    params = {name.removeprefix("param."): tensor for name, tensor in state.items() if name.startswith("param.")}
    found = {name: tensor for name, tensor in state.items() if not name.startswith("param.")}
    kinds = (
        {name: (t.dtype, None if is_lazy(t) else t.shape) for name, t in tensors.items()} for tensors in (found, wanted)
    )
    if differing := sorted({name for name, _ in set.symmetric_difference(*(set(kind.items()) for kind in kinds))}):
        raise ValueError(
            f"Expected a pair of the shape that was trained; names, types or shapes differ: "
            f"{', '.join(differing[:5])}. Make it with the same classes and settings; where layers are made, or get "
            f"their shapes, at the first call, call the guide and the model once before."
        )
    with torch.no_grad():
        for name, tensor in wanted.items():
            tensor.copy_(found[name])
    device = next((tensor.device for tensor in wanted.values()), torch.device("cpu"))
    params = {name: tensor.to(device) for name, tensor in params.items()}
    return with_store(model, guide, {"params": params, "constraints": {}})


def _held_by_none(modules: dict[str, nn.Module], store: Any) -> dict[str, Tensor]:
    held = {id(p) for m in modules.values() for p in m.parameters()}
    return {name: p for name, p in store.get_state()["params"].items() if id(p) not in held}
