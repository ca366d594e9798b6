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

from .. import data, likelihoods
from ..data import Data
from ..networks import count_parameters
from . import parts as settings
from .folder import load_weights, read_about, require_run, require_same_data
from .options import read_settings


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
    likelihood = config.get("likelihood.name")
    pixels = config.get("likelihood.pixels")  # import path of the likelihood that PixelCNN takes for each pixel
    if likelihood is None:
        return False
    return (settings.import_object(pixels) if pixels else settings.find_class("likelihood", likelihood)) is (
        likelihoods.Bernoulli
    )


def choose_device(name: str) -> torch.device:
    """The device of a name, "auto" for CUDA where there is one.

    Raises:
        ValueError: this machine has no such device.
    """
    try:
        device = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)
        torch.zeros((), device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"Expected --device cpu, cuda or auto; got {name!r}, which this machine has not.") from error
    return device


def part_settings(config: Namespace) -> dict[str, dict[str, Any]]:
    """The settings of the parts of a model, for `settings.build`."""
    return {
        part: config[part].as_dict()
        for part in settings.PARTS
        if part in config and part != "objective" and config[part].name
    }


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
    return read_settings(folder / "settings.yaml"), read_about(folder)


def data_of(folder: Path, *, root: str | None = None) -> Data:
    """The data that a run was trained on, from another root if given.

    Raises:
        ValueError: what is there now is not what it was trained on.
    """
    return require_same_data(folder, load_data(read_run(folder)[0], root=root))


def load_run(folder: Path, device: torch.device) -> tuple[Any, dict[str, Any]]:
    """The trained model of a run. Its data are not needed: what came from them is among the weights."""
    config, about = read_run(folder)
    shape = tuple(about["event_shape"])
    module = settings.build(
        part_settings(config),
        event_shape=shape,
        latent_dim=config.latent_dim,
        mean=torch.full(shape, 0.5),
        pseudo_inputs=torch.zeros(about["num_train"], *shape),
        seed=config.seed,
        missing=config.missing,
    )
    load_weights(folder, module)
    return module.to(device), about


def load_pictured(
    chosen: Namespace, count: int, *, option: str | None = None, each: int = 1
) -> tuple[Path, Any, Tensor]:
    """For a command that draws: the run's folder, its model, and count x each random test images, on its device.

    Raises:
        ValueError: more images asked for by the option than there are; without an option, all there are will do.
    """
    folder = require_run(chosen.run)
    test = data_of(folder, root=chosen.root).test
    if option is not None and not 1 <= count <= len(test) // each:
        raise ValueError(f"Expected {option} from 1 to {len(test) // each:,}, all test images; got {count}.")
    device = choose_device(chosen.device)
    module, _ = load_run(folder, device)
    return folder, module, test[random_subset(len(test), count * each, chosen.seed)].to(device)


def command_line() -> str:
    """The command, as it was typed."""
    return " ".join(["pyro-vae", *sys.argv[1:]])
