"""Every test starts from the same seed and must leave the state of the process as it was."""

import os
import random
from importlib import import_module

import numpy as np
import pyro
import pytest
import torch
from matplotlib.figure import Figure
from pyro.poutine.util import is_validation_enabled

os.environ.setdefault("OMP_NUM_THREADS", "1")  # of the processes that tests start, as of this one below
# Torch's engine starts threads at its first backward pass if a fake tensor was there before; processes that are forked
# after that cannot run one.
torch.ones(1, requires_grad=True).sum().backward()
torch.set_num_threads(1)  # the tensors of the tests are small: more threads only wait for each other


def _global_state():
    """What a library must not change behind its user's back."""
    store = pyro.get_param_store()
    return {
        "distribution validation": pyro.distributions.is_validation_enabled(),
        "torch distribution validation": torch.distributions.Distribution._validate_args,
        "model validation": is_validation_enabled(),
        "default dtype": torch.get_default_dtype(),
        "grad mode": torch.is_grad_enabled(),
        "inference mode": torch.is_inference_mode_enabled(),
        "deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "deterministic cuDNN": torch.backends.cudnn.deterministic,
        "threads": torch.get_num_threads(),
        "param store": {name: (id(p), p._version) for name, p in store.named_parameters()},
        "effect handlers": list(pyro.poutine.runtime._PYRO_STACK),
    }


@pytest.fixture
def global_state():
    """Reads what must be the same before and after."""
    return _global_state


@pytest.fixture
def scope():
    """A param store of the test's own."""
    with pyro.get_param_store().scope():
        yield pyro.get_param_store()


@pytest.fixture
def short_warm_up(monkeypatch):
    """Annealed chains with rough step sizes: any will do for an estimate that is right, only not for a precise one."""
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.FIRST_TRANSITIONS", 10)
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.LEAST_TRANSITIONS", 7)
    monkeypatch.setattr(import_module("pyro_vae.evidence.bidirectional"), "MOVES", 6)  # a function has its name, too


@pytest.fixture
def operation_by_operation(monkeypatch):
    """Graphs are recorded and not compiled, where recording is what is tried: the compiler takes seconds for each."""
    monkeypatch.setattr("pyro_vae.compiled.graph.compiled_module", lambda module, inputs, options: module)


@pytest.fixture(autouse=True)
def _files_that_no_power_cut_meets(monkeypatch):
    """Waiting for the disk takes longer than what many tests compute."""
    monkeypatch.setattr(os, "fsync", lambda file: None)


@pytest.fixture(autouse=True)
def _patient(monkeypatch):
    """What is said of work that takes two seconds is not said on a busy machine, where any could."""
    for where in ("log_level", "progress"):
        monkeypatch.setattr(f"pyro_vae.output.{where}.PATIENCE", 600.0)


@pytest.fixture(autouse=True)
def _same_global_state():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (the global stream is what is fixed here)
    torch.manual_seed(0)
    before = _global_state()
    yield
    assert _global_state() == before


def _undrawn(figure, target, **options):
    target.write(b"a figure of " + str(len(figure.axes)).encode() + b" axes")


@pytest.fixture(autouse=True)
def _figures_of_commands_are_made_and_not_drawn(request, monkeypatch):
    """Drawing takes most of the time of a command; tests/plots draws all of them."""
    if request.path.parent.name == "commands" and request.node.get_closest_marker("drawn") is None:
        monkeypatch.setattr(Figure, "savefig", _undrawn)
