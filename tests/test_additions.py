"""What a stranger adds is one new file and one line in the room's __init__; one line in the examples tests it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyro_vae

LIBRARY, TESTS = Path(pyro_vae.__file__).parent, Path(__file__).parent

PRIOR = '''
"""Logistic prior."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..arguments.at_least import at_least


class LogisticPrior(nn.Module):
    """Independent logistic latents.

    Args:
        dim: number of latent dimensions.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        at_least(1, dim=dim)
        self.loc: Tensor
        self.register_buffer("loc", torch.zeros(dim), persistent=False)

    def forward(self) -> dist.Distribution:
        return dist.Logistic(self.loc, torch.ones_like(self.loc)).to_event(1)
'''

ENCODER = '''
"""Laplace encoder."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor, nn

from ..distributions.scale import positive_scale
from ..networks import MLP, Shape
from ..networks.network import MakeNetwork


class LaplaceEncoder(nn.Module):
    """Independent Laplace latents.

    Args:
        event_shape: shape of one x.
        latent_dim: number of latent dimensions.
        network: makes the network from its input and output shape.
    """

    def __init__(self, event_shape: Shape, latent_dim: int, network: MakeNetwork = MLP) -> None:
        super().__init__()
        self.network = network(event_shape, (2, latent_dim))

    def forward(self, x: Tensor) -> dist.Distribution:
        loc, raw = self.network(x).unbind(-2)
        return dist.Laplace(loc, positive_scale(raw)).to_event(1)
'''

LIKELIHOOD = '''
"""Logistic likelihood."""

from __future__ import annotations

import pyro.distributions as dist
from torch import Tensor

from .likelihood import LocationScale


class LogisticValues(LocationScale):
    """Independent logistic values.

    Args:
        event_shape: shape of one x.
        scale: a number, "shared" or "per-pixel".
        min_scale: lower bound of a learned scale.
        mean: where the locations start.
    """

    def forward(self, features: Tensor) -> dist.Distribution:
        return dist.Logistic(*self.loc_and_scale(features)).to_event(len(self.event_shape))
'''

NETWORK = '''
"""A network of one hidden layer."""

from __future__ import annotations

import math

from torch import nn

from .network import Network, Shape


class Shallow(Network):
    """One hidden layer of tanh units.

    Args:
        in_shape: shape of one input.
        out_shape: shape of one output.
        width: of the hidden layer.
    """

    def __init__(self, in_shape: Shape, out_shape: Shape, width: int = 50) -> None:
        super().__init__(in_shape, out_shape)
        self.width = width
        first, last = nn.Linear(math.prod(self.in_shape), width), nn.Linear(width, math.prod(self.out_shape))
        self.layers = nn.Sequential(nn.Flatten(), first, nn.Tanh(), last)

    def extra_repr(self) -> str:
        return f"width={self.width}"
'''

# Room: the file and its content, the class, and the line in a dict of the examples. (Objectives, estimators and
# commands, which are open sets too, are further entries.)
ADDITIONS = {
    "priors": ("logistic.py", PRIOR, "LogisticPrior", "PRIORS", "priors.LogisticPrior"),
    "encoders": (
        "laplace.py",
        ENCODER,
        "LaplaceEncoder",
        "ENCODERS",
        "partial(encoders.LaplaceEncoder, network=small_mlp)",
    ),
    "likelihoods": ("logistic_values.py", LIKELIHOOD, "LogisticValues", "LIKELIHOODS", "likelihoods.LogisticValues"),
    "networks": ("shallow.py", NETWORK, "Shallow", "NETWORKS", "(networks.Shallow, (2, 3), (4,))"),
}


def test_a_part_is_one_file_and_a_line(tmp_path):
    shutil.copytree(LIBRARY, tmp_path / "pyro_vae", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TESTS, tmp_path / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(TESTS.parent / "setup.cfg", tmp_path)
    for room, (file, content, name, examples, example) in ADDITIONS.items():
        (tmp_path / "pyro_vae" / room / file).write_text(content)
        with (tmp_path / "pyro_vae" / room / "__init__.py").open("r+") as init:
            before, found, after = init.read().partition("\nfrom .")
            assert found
            init.seek(0)
            init.write(f"{before}\nfrom .{file.removesuffix('.py')} import {name} as {name}{found}{after}")
        with (tmp_path / "tests" / "examples.py").open("a") as listed:
            listed.write(f'\n{examples}["{name}"] = {example}\n')
    names = [name for _, _, name, _, _ in ADDITIONS.values()]
    files = [f"{room}/{file}" for room, (file, *_) in ADDITIONS.items()]
    tested = ["test_structure.py", "models/test_parts_together.py", *(f"{room}/test_{room}.py" for room in ADDITIONS)]
    command = [sys.executable, "-m", "pytest", "-vv", "-n", "0", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [*command, "-k", " or ".join([*names, *files, "public_names"]), *(f"tests/{path}" for path in tested)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    passed = [line for line in done.stdout.splitlines() if "PASSED" in line]
    for name in [*names, *files]:
        assert sum(f"[{name}" in line or f"-{name}" in line for line in passed) > 2, name
