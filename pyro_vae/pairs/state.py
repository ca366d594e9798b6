"""A copy of all that is trained in a pair, and how to put it back."""

from __future__ import annotations

import functools
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from .modules import Callee


def with_store(function: Callee, state: Any) -> Callee:
    """Run a function with the parameters of a Pyro param-store state, leaving the caller's store as it was."""

    @functools.wraps(function)
    def stored(x: Tensor) -> Any:
        with pyro.get_param_store().scope({"params": dict(state["params"]), "constraints": dict(state["constraints"])}):
            return function(x)

    return stored


def get_state(modules: dict[str, nn.Module], store: Any) -> dict[str, Tensor]:
    """A copy of all that is trained: "NAME.KEY" for modules, "param.NAME" (unconstrained) for other parameters."""
    state = {f"{name}.{key}": value for name, m in modules.items() for key, value in m.state_dict().items()}
    state |= {f"param.{name}": p for name, p in _loose_parameters(modules, store).items()}
    return {key: value.detach().clone() for key, value in state.items()}


def set_state(modules: dict[str, nn.Module], store: Any, state: dict[str, Tensor]) -> None:
    """Put a state of `get_state` back, in place."""
    for name, m in modules.items():
        m.load_state_dict({key: state[f"{name}.{key}"] for key in m.state_dict()})
    with torch.no_grad():
        for name, p in _loose_parameters(modules, store).items():
            if f"param.{name}" in state:  # a parameter made since then keeps its value
                p.copy_(state[f"param.{name}"])


def _loose_parameters(modules: dict[str, nn.Module], store: Any) -> dict[str, Tensor]:
    held = {id(p) for m in modules.values() for p in m.parameters()}
    return {name: p for name, p in store.get_state()["params"].items() if id(p) not in held}
