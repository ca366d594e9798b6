"""What a function reads from Python's side: a recorded graph holds it as it was, so that a change must be noticed."""

from __future__ import annotations

import dis
import functools
import inspect
import itertools
import operator
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from .torch_private import entries_of

# Compared by value; all else by which object it is.
PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size)
# Packages whose functions read no variables of the user, and whose objects have states of their own.
LIBRARIES = ("builtins", "numpy", "pyro", "pyro_vae", "torch", "tqdm")
LONGEST = 1_000  # entries of a list or dict that are looked at: a longer one is data
STANDARD = vars(nn.Module()).keys()
ABSENT = object()


class Place(NamedTuple):
    """An entry of a dict, list, module or class, or the content of a closure's cell, and what it held."""

    holder: Any
    key: Any
    value: Any
    name: str

    def holds(self) -> bool:
        """Whether nothing has changed here."""
        now = _content(self.holder, self.key)
        return now is self.value or (type(now) in PLAIN and type(now) is type(self.value) and bool(now == self.value))

    def is_plain(self) -> bool:
        """Whether numbers, flags and words were or are here."""
        return any(type(value) in PLAIN for value in (self.value, _content(self.holder, self.key)))


class PythonState:
    """What a function reads from Python's side, as it is now, modules and other objects that it is given included.

    Looked at are attributes, submodules, parameters and buffers of modules; variables that the function, its methods
    and the user's functions that they name read, from closures and from globals; and of other objects the entries and
    attributes that this code names. Numbers, flags and strings are compared by value, other objects by identity.
    """

    def __init__(self, function: Callable, objects: Iterable[Any]) -> None:
        names: set[str] = set()
        for _ in range(2):  # a name may be read by a function met after the object that has it
            walk = _Walk(names, [function, *objects])
        self._set(walk.places)

    def _set(self, places: list[Place]) -> None:
        self.places = places
        sized = [place for place in places if place.key is len]
        entries = [place for place in places if place.key is not len and isinstance(place.holder, dict)]
        # In lists of their own, so that looking takes a few microseconds.
        self._sized, self._lengths = [place.holder for place in sized], [place.value for place in sized]
        self._keys, self._known = [place[:2] for place in entries], [place.value for place in entries]
        self._others = [place for place in places if place.key is not len and not isinstance(place.holder, dict)]

    def changed(self) -> list[Place]:
        """The places that hold something else by now."""
        return [place for place in self.places if not place.holds()]

    def holds(self) -> bool:
        """Whether nothing has changed."""
        now = [holder.get(key, ABSENT) for holder, key in self._keys]
        if list(map(len, self._sized)) == self._lengths and all(map(operator.is_, now, self._known)):
            return all(place.holds() for place in self._others)
        return not self.changed()

    def forget(self, places: list[Place]) -> None:
        """Look at these no more."""
        forgotten = set(map(id, places))
        self._set([place for place in self.places if id(place) not in forgotten])


class _Walk:
    """Notes all places that can be reached from some objects, and the names that code among them reads."""

    def __init__(self, names: set[str], roots: list[Any]) -> None:
        self.names, self.places = names, list[Place]()
        self._met: dict[int, Any] = {}  # keeps them alive, so that no id serves twice
        self._waiting: list[tuple[Any, str]] = [(root, "") for root in roots]
        while self._waiting:
            value, name = self._waiting.pop()
            if id(value) not in self._met and type(value) not in PLAIN:
                self._met[id(value)] = value
                self._look_into(value, name)

    def _look_into(self, value: Any, name: str) -> None:
        if isinstance(value, Tensor | types.BuiltinFunctionType):
            return
        if isinstance(value, functools.partial):
            self._waiting += [(part, name) for part in (value.func, *value.args, *value.keywords.values())]
        elif isinstance(value, types.MethodType):
            self._waiting += [(value.__func__, name), (value.__self__, name)]
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, dict | list):
            self.places.append(Place(value, len, len(value), f"the length of {name}"))
            if len(value) <= LONGEST:
                self._note(value, list(value) if isinstance(value, dict) else range(len(value)), name + "[{!r}]")
        elif isinstance(value, tuple):
            self._waiting += [(item, name) for item in value]
        elif isinstance(value, types.ModuleType):
            if not _is_library(value):
                self._note(vars(value), self.names & vars(value).keys(), value.__name__ + ".{}")
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, nn.Module):
            self._class(type(value))
            attributes, *held = entries_of(value)
            for entries in (attributes, *held):
                own = [key for key in entries if key == "training" or key not in STANDARD]
                self._note(entries, own, type(value).__name__ + ".{}")
            for entries in held:
                self.places.append(Place(entries, len, len(entries), f"the number of parts of {type(value).__name__}"))
        elif not _is_library(type(value)) and hasattr(value, "__dict__"):
            self._class(type(value))
            self._note(vars(value), self.names & vars(value).keys(), type(value).__name__ + ".{}")

    def _function(self, function: types.FunctionType) -> None:
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
            self._note(cell, ["cell_contents"], name)
        self._waiting += [(value, "") for value in (function.__defaults__ or ())]
        self._waiting += [(value, name) for name, value in (function.__kwdefaults__ or {}).items()]
        if not _is_library(function):
            codes = list(_codes(function.__code__))
            for code in codes:  # attributes too, and "beta" in getattr(settings, "beta")
                self.names.update(code.co_names, (word for word in code.co_consts if isinstance(word, str)))
            loads = (item for code in codes for item in dis.get_instructions(code) if item.opname == "LOAD_GLOBAL")
            self._note(function.__globals__, {item.argval for item in loads} & function.__globals__.keys(), "{}")

    def _class(self, cls: type) -> None:
        for parent in itertools.takewhile(lambda parent: not _is_library(parent), cls.__mro__):
            for key, item in vars(parent).items():
                if key.startswith("__") and key != "__call__":  # what makes an object names all that it has
                    continue
                item = inspect.unwrap(item.fget) if isinstance(item, property) and item.fget else item
                item = getattr(item, "__func__", item)  # of static and class methods
                if isinstance(item, types.FunctionType):
                    self._waiting.append((item, ""))
            plain = [key for key, item in vars(parent).items() if type(item) in PLAIN and key in self.names]
            self._note(parent, plain, parent.__name__ + ".{}")

    def _note(self, holder: Any, keys: Iterable[Any], name: str) -> None:
        for key in keys:
            value = _content(holder, key)
            self.places.append(Place(holder, key, value, name.format(key)))
            self._waiting.append((value, name.format(key)))


def _content(holder: Any, key: Any) -> Any:
    if key is len:
        return len(holder)
    try:
        return holder[key] if isinstance(holder, dict | list) else getattr(holder, key)
    except (KeyError, IndexError, AttributeError, ValueError):  # ValueError: an empty cell
        return ABSENT


def _is_library(value: Any) -> bool:
    home = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    return str(home).partition(".")[0] in LIBRARIES


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """The code of a function, and of those defined in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _codes(constant)
