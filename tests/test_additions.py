"""What a stranger adds is one new file and one line in the room's __init__; one line in the examples tests it.

A command is a file and nothing else.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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

OBJECTIVE = '''
"""Importance-weighted bound."""

from __future__ import annotations

from pyro.infer import RenyiELBO


class IWAE(RenyiELBO):  # type: ignore[misc]
    """The importance-weighted bound.

    Args:
        num_particles: draws from the guide.
    """

    def __init__(self, num_particles: int = 5) -> None:
        super().__init__(alpha=0, num_particles=num_particles)
'''

ESTIMATOR = '''
"""Importance sampling from the guide and the prior alike."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..pairs.modules import Callee
from .importance import OnResult, log_marginal
from .result import LogMarginal


def defensive_log_marginal(
    model: Callee,
    guide: Callee,
    x: Tensor,
    *,
    share: float = 0.5,
    num_samples: int = 100,
    seed: int | None = 0,
    progress: bool = True,
    only: Sequence[int] | None = None,
    on_result: OnResult | None = None,
) -> LogMarginal:
    """Importance sampling from a mixture of guide and prior.

    Args:
        share: of the prior.
        num_samples: of a data point.
    """
    given = {"seed": seed, "progress": progress, "only": only, "on_result": on_result}
    return log_marginal(model, guide, x, estimator="guide", defensive=share, num_samples=num_samples, **given)
'''

COMMAND = '''
"""Count the parameters of a trained run."""

from ..runs.folder import require_run
from ..runs.loading import load_run
from ..training.device import choose_device


def parse(parser, arguments):
    """Options of this command."""
    parser.add_argument("run", metavar="RUN", type=str, help="Run folder.")
    return parser.parse_args(arguments)


def run(chosen):
    """Count them."""
    module, _ = load_run(require_run(chosen.run), choose_device("cpu"))
    print(sum(parameter.numel() for parameter in module.prior.parameters()), "parameters of the prior")
'''

# Room: the file and its content, the class or function, and the line in a dict of the examples.
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
    "objectives": ("iwae.py", OBJECTIVE, "IWAE", "OBJECTIVES", "objectives.IWAE"),
    "evidence": (
        "defensive.py",
        ESTIMATOR,
        "defensive_log_marginal",
        "ESTIMATORS",
        "partial(evidence.defensive_log_marginal, num_samples=50)",
    ),
}
TESTED = ["test_structure.py", "models/test_parts_together.py", "evidence/test_evidence_contract.py"]
TESTED += [f"{room}/test_{room}.py" for room in ADDITIONS if room != "evidence"]


@pytest.fixture(scope="module")
def extended(tmp_path_factory):
    """A folder with a copy of the library and its tests, to which all of these were added."""
    copy = tmp_path_factory.mktemp("extended")
    for tree in (LIBRARY, TESTS):
        shutil.copytree(tree, copy / tree.name, ignore=shutil.ignore_patterns("*.pyc.*"))  # with what is compiled
    shutil.copy(TESTS.parent / "setup.cfg", copy)
    for room, (file, content, name, examples, example) in ADDITIONS.items():
        (copy / "pyro_vae" / room / file).write_text(content)
        with (copy / "pyro_vae" / room / "__init__.py").open("r+") as init:
            before, found, after = init.read().partition("\nfrom .")
            assert found
            init.seek(0)
            init.write(f"{before}\nfrom .{file.removesuffix('.py')} import {name} as {name}{found}{after}")
        with (copy / "tests" / "examples.py").open("a") as listed:
            listed.write(f'\n{examples}["{name}"] = {example}\n')
    (copy / "pyro_vae" / "commands" / "count.py").write_text(COMMAND)
    return copy


NAMES = [name for _, _, name, _, _ in ADDITIONS.values()]
ADDED = [*(f"{room}/{file}" for room, (file, *_) in ADDITIONS.items()), "commands/count.py"]


@pytest.fixture(scope="module")
def out(extended):
    """What a process says that runs the tests of the copy, and then commands: they take seconds to import the same."""
    chosen = f"({' or '.join([*NAMES, *ADDED, 'public_names'])}) and not estimates_that_agree"
    tests = ["-vv", "-n", "0", "-p", "no:cacheprovider", "-k", chosen, *(f"tests/{path}" for path in TESTED)]
    train = ["train", "--latent-dim", "2", "--epochs", "1"]
    parts = ["--prior", "LogisticPrior", "--encoder", "LaplaceEncoder", "--likelihood", "LogisticValues"]
    parts += ["--network", "Shallow", "--network.width", "7", "--objective", "IWAE", "--objective.num_particles", "2"]
    options = ["--estimator", "defensive", "--share", "0.25", "--num-samples", "30", "--num-images", "9"]
    calls = [[*train, *parts, "--out", "run"], ["evaluate", "run", *options], ["count", "run"]]
    calls += [[*train, "--overwrite", "--out", "another"], ["evaluate", "another", *options]]
    calls += [[*train, "--overwrite", "--out", "another"]]
    code = f"import pytest\nassert pytest.main({tests}) == 0\n"
    code += f"from pyro_vae.commands.main import main\nfor call in {calls}:\n    main(call)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=extended,
        env=os.environ | {"PYTHONPATH": str(extended)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    return done.stdout


def test_what_is_added_is_a_file_and_a_line(out):
    passed = [line for line in out.splitlines() if "PASSED" in line]
    for name in [*NAMES, *ADDED]:
        least = 2 if "/" in name else 3
        assert sum(f"[{name}" in line or f"-{name}" in line for line in passed) >= least, name


def test_what_is_added_is_known_to_the_command_line(extended, out):
    assert "30 samples each" in out
    assert "0 parameters of the prior" in out
    settings = (extended / "run" / "settings.yaml").read_text()
    assert all(name in settings for name in ("LogisticPrior", "LaplaceEncoder", "LogisticValues", "Shallow", "IWAE"))
    (path,) = (extended / "run").glob("evaluation_defensive_*.json")
    evaluation = json.loads(path.read_text())
    assert evaluation["estimator_settings"]["share"] == 0.25
    assert (extended / "another" / "run.json").exists()
    assert not list((extended / "another").glob("evaluation*"))  # those of the weights before
