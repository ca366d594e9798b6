"""The modules behind a pair, and how their parameters become known to Pyro."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import pyro
from pyro.nn import PyroModule, pyro_method
from pyro.poutine.messenger import Messenger
from pyro.poutine.reparam_messenger import ReparamHandler
from torch import Tensor, nn

# One half of a pair, a model or a guide: any function that is called with a batch of data, one tensor (B, ...) or
# several, and has Pyro sites.
# What it returns is not used. A method of an nn.Module, a module with a forward, and a plain function are such.
Callee = Callable[..., Any]


def modules_of(model: Callee, guide: Callee) -> dict[str, nn.Module]:
    """The modules behind a pair, by name.

    For bound methods (and callable modules) it is their module, "pair" when model and guide share it, else "model"
    and "guide". For other functions these are the modules that their code refers to, by variable name: directly, in
    containers, in objects and in functions of the same file.
    """
    owners = [_owner(model), _owner(guide)]
    if owners[0] is not None and owners[0] is owners[1]:
        return {"pair": owners[0]}
    found: dict[str, nn.Module] = {}
    for role, function, owner in zip(("model", "guide"), (model, guide), owners, strict=True):
        if owner is not None:
            found[role] = owner
        else:
            _collect(role, function, found, set())
    return found


def _owner(function: Callee) -> nn.Module | None:
    if isinstance(function, functools.partial) and not function.keywords:  # of Pyro's handlers: wrap(handler, function)
        handler, *handled = function.args or (None, function.func)
        if handler is None or isinstance(handler, Messenger):
            instance = next((part for part in handled[1:] if isinstance(part, nn.Module)), None)
            return _owner(handled[0]) if instance is None else instance  # a decorated method takes its instance along
    owner = function if isinstance(function, nn.Module) else getattr(function, "__self__", None)
    if isinstance(owner, nn.Module):
        return owner
    inner = _inside(function)
    return None if inner is None else _owner(inner)


def _inside(function: Any) -> Any:
    """The function under a wrapper, under bound arguments, or under one of Pyro's effect handlers; None without one."""
    if isinstance(function, ReparamHandler):
        return function.fn
    if not isinstance(function, functools.partial):
        return getattr(function, "__wrapped__", None)
    if function.args and isinstance(function.args[0], Messenger):  # a handler, and the function that it is around
        return function.args[1]
    return function.func


def _collect(
    name: str, value: Any, found: dict[str, nn.Module], seen: set[int], file: Any = None, levels: int = 8
) -> None:
    """Add the modules that a value refers to over so many levels, looking into functions whose globals are ``file``."""
    if id(value) in seen or isinstance(value, (Tensor, type)) or not levels:
        return
    seen.add(id(value))
    inner: Mapping[str, Any] = {}
    if isinstance(value, nn.Module):
        if not any(value is m for m in found.values()):
            found[name if name not in found else f"{name}_{len(found)}"] = value
    elif inspect.isfunction(value):
        if file is None or value.__globals__ is file or hasattr(value, "__wrapped__"):
            file = file or getattr(inspect.unwrap(value), "__globals__", None)  # None of a callable object
            variables = inspect.getclosurevars(value)
            inner = {"__wrapped__": getattr(value, "__wrapped__", None), **variables.globals, **variables.nonlocals}
    elif inspect.ismethod(value):
        inner = {"__self__": value.__self__, "__func__": value.__func__}
    elif isinstance(value, functools.partial):
        inner = {"func": value.func, "args": value.args, **value.keywords}
    elif isinstance(value, ReparamHandler):
        inner = {"fn": value.fn}
    elif isinstance(value, (list, tuple, set)):
        inner = {f"{name}_{i}": item for i, item in enumerate(value)}
    elif isinstance(value, dict):
        inner = {str(key): item for key, item in value.items()}
    elif hasattr(value, "__dict__") and type(value).__module__.partition(".")[0] not in ("builtins", "torch", "pyro"):
        inner = {**vars(value), "call": type(value).__dict__.get("__call__")}
    for key, item in inner.items():
        _collect(key, item, found, seen, file, levels - 1)


def is_bound(model: Callee, guide: Callee) -> bool:
    """Whether both are methods of modules (or callable modules), so that the modules hold all parameters."""
    return _owner(model) is not None and _owner(guide) is not None


def announcing(model: Callee, guide: Callee) -> tuple[Callee, Callee]:
    """The pair, made to announce its modules' parameters to Pyro, as ``SVI`` needs in order to train them.

    Without this, ``SVI.step`` on methods of an ``nn.Module`` silently trains nothing. A ``PyroModule`` announces its
    own inside ``pyro_method``; plain functions do it themselves and are returned as they are.
    """
    names = ("pair", None) if _owner(model) is _owner(guide) else ("model", "guide")  # one announcement is enough
    return _announcing(model, names[0]), _announcing(guide, names[1])


def under(context: Callable[[], Any], function: Callee) -> Callee:
    """The function, of the same name and signature, called inside a context that is made anew for each call."""

    @functools.wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        with context():
            return function(*args, **kwargs)

    return called


def _announcing(function: Callee, name: str | None) -> Callee:
    owner = _owner(function)
    if owner is None or isinstance(function, PyroModule):
        return function

    @functools.wraps(function)
    def announced(*args: Any, **kwargs: Any) -> Any:
        if isinstance(owner, PyroModule):  # not the method itself: it may stand under an effect handler
            return pyro_method(lambda _: function(*args, **kwargs))(owner)
        if name is not None:
            for key, parameter in owner.named_parameters():
                if parameter.requires_grad:
                    pyro.param(f"{name}$$${key}", parameter)  # the name pyro.module would give
        return function(*args, **kwargs)

    return announced
