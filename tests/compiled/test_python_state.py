"""What a function reads from Python's side is found, wherever it is held."""

import dataclasses
import functools
import types

import pytest
import torch
from torch import nn

from pyro_vae.compiled.python_state import PythonState

BETA = 1.0
unrelated = 1.0
SETTINGS = types.SimpleNamespace(beta=1.0, other=1.0)
TABLE = {"beta": 1.0}


class Configuration:
    beta = 1.0


def helper(z):
    return z * BETA


@dataclasses.dataclass(eq=False)
class Plain:
    beta: float = 1.0
    unread: float = 1.0

    def weight(self):
        return self.beta

    def model(self, z):
        return z * self.weight()


class Module(nn.Module):
    def __init__(self):
        super().__init__()
        self.beta, self.dropout, self.schedule, self.loc = 1.0, nn.Dropout(0.5), [1.0, 2.0], torch.zeros(3)
        self.register_buffer("mask", torch.ones(3))

    def forward(self, z):
        return z * self.beta


def in_a_closure():
    beta = 1.0

    def model(z):
        return z * beta

    def change(value):
        nonlocal beta
        beta = value

    return model, change


def global_number():
    return helper, functools.partial(globals().__setitem__, "BETA")


def through_a_helper():
    return (lambda z: helper(z)), functools.partial(globals().__setitem__, "BETA")


def namespace():
    return (lambda z: z * SETTINGS.beta), functools.partial(setattr, SETTINGS, "beta")


def named_by_a_string():
    return (lambda z: z * getattr(SETTINGS, "beta")), functools.partial(setattr, SETTINGS, "beta")  # noqa: B009


def dictionary():
    return (lambda z: z * TABLE["beta"]), functools.partial(TABLE.__setitem__, "beta")


def class_attribute():
    return (lambda z: z * Configuration.beta), functools.partial(setattr, Configuration, "beta")


def plain_object():
    pair = Plain()
    return pair.model, functools.partial(setattr, pair, "beta")


def partial_argument():
    pair = Plain()
    return functools.partial(Plain.model, pair), functools.partial(setattr, pair, "beta")


PLACES = [in_a_closure, global_number, through_a_helper, namespace, named_by_a_string, dictionary, class_attribute]
PLACES += [plain_object, partial_argument]


@pytest.mark.parametrize("place", PLACES)
def test_a_number_is_found(place):
    function, change = place()
    state = PythonState(function, [])
    assert state.holds()
    change(0.25 * 4)  # an equal number
    assert state.holds()
    change(0.5)
    try:
        assert not state.holds()
        assert ["beta" in changed.name.lower() for changed in state.changed()] == [True]
    finally:
        change(1.0)
    assert state.holds()


CHANGES = {
    "a number": lambda m: setattr(m, "beta", 2.0),
    "another type": lambda m: setattr(m, "beta", 1),
    "a library's number": lambda m: setattr(m.dropout, "p", 0.1),
    "mode of a part": lambda m: m.dropout.eval(),
    "a tensor": lambda m: setattr(m, "loc", torch.zeros(3)),
    "a buffer": lambda m: setattr(m, "mask", torch.zeros(3)),
    "a part": lambda m: setattr(m, "dropout", nn.Dropout(0.5)),
    "a new part": lambda m: m.add_module("extra", nn.Identity()),
    "an entry": lambda m: m.schedule.__setitem__(0, 3.0),
    "a new entry": lambda m: m.schedule.append(3.0),
    "what is gone": lambda m: delattr(m, "beta"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_a_module_are_found(change):
    module = Module()
    state = PythonState(module, [module])
    assert state.holds()
    CHANGES[change](module)
    assert not state.holds()
    assert state.changed()


def test_what_is_not_read_and_what_changes_in_place_are_no_matter():
    module, pair = Module(), Plain()
    state = PythonState(lambda z: module(pair.model(z)), [module])
    pair.unread, SETTINGS.other = 2.0, 2.0
    module.mask.zero_()
    module.loc += 1
    assert state.holds()
    by_attribute = PythonState(lambda z: z.unrelated, [])
    globals()["unrelated"] = 2.0  # a variable of that name is another thing
    assert by_attribute.holds()
    module.beta = 3.0
    state.forget(state.changed())
    assert state.holds()
