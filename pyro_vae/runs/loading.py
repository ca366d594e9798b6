"""From settings to objects that work: data, device, trained models."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from torch import Tensor, nn

from .. import data
from ..data import Data
from ..evidence.files import read_json
from ..networks import count_parameters
from .folder import load_weights
from .parts import PARTS, build
from .settings import read_settings


def load_data(config: Namespace, *, root: str | None = None) -> Data:
    """The data of a run, from another root if given."""
    return data.load(
        config.data,
        root or config.root,
        binarization=binarization(config),
        download=config.download,
        seed=config.data_seed,
        dequantize=config.dequantize,
        missing=config.missing,
    )


def binarization(config: Namespace) -> data.Binarization:
    """How the data of a run are binarized: as it says, else as its likelihood wants them."""
    given: data.Binarization | None = config.binarization
    return given or ("dynamic" if _is_binary(config) else "none")


def _is_binary(config: Namespace) -> bool:
    likelihood = config.get("likelihood")
    return likelihood is not None and "Bernoulli" in (likelihood.class_path, likelihood.init_args.get("pixels"))


def choose_device(name: str) -> torch.device:
    """The device of a name, "auto" for CUDA where there is one.

    Raises:
        ValueError: this machine has no such device.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.zeros((), device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"Expected --device cpu, cuda or auto; got {name!r}: this machine has no such device."
        ) from error
    return device


def build_model(config: Namespace, **data: Any) -> Any:
    """The model of a run; from the data come what `build` asks for."""
    parts = {part: config[part].as_dict() for part in PARTS if part in config}
    return build(parts, latent_dim=config.latent_dim, seed=config.seed, missing=config.missing, **data)


@contextmanager
def few_threads(module: nn.Module) -> Iterator[None]:
    """One thread for a small model: its matrix products gain nothing from more, and lose much on a busy machine."""
    before = torch.get_num_threads()
    if count_parameters(module) < 200_000:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def random_subset(count: int, wanted: int, seed: int) -> Tensor:
    """Indices of a random subset, the same for the same seed."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:wanted]


def read_run(folder: Path) -> tuple[Namespace, dict[str, Any]]:
    """The settings of a run, and what it saw (run.json)."""
    return read_settings(folder / "settings.yaml"), read_json(folder / "run.json")


def load_run(folder: Path, device: torch.device) -> tuple[Any, dict[str, Any]]:
    """The trained model of a run. Its data are not needed: what came from them is among the weights."""
    config, about = read_run(folder)
    shape = tuple(about["event_shape"])
    module = build_model(
        config,
        event_shape=shape,
        mean=torch.full(shape, 0.5),
        pseudo_inputs=torch.zeros(about["num_train"], *shape),
    )
    load_weights(folder, module)
    return module.to(device), about


def command_line() -> str:
    """The command, as it was typed."""
    return " ".join(["pyro-vae", *sys.argv[1:]])
