"""From settings to objects that work: data, device, trained models."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from torch import Tensor

from .. import data, likelihoods
from ..data import Data
from ..training.device import choose_device
from . import parts as settings
from .folder import load_weights, read_about, require_run, require_same_data
from .loose_params import load_params
from .options import read_settings


def load_data(config: Namespace, *, root: str | None = None) -> Data:
    """The data of a run, from another root if given.

    Raises:
        ValueError: colours would be binarized, though nobody asked for it.
    """
    loaded = data.load(
        config.data,
        root or config.root,
        binarization=binarization(config),
        download=config.download,
        seed=config.data_seed,
        dequantize=config.dequantize,
        missing=config.missing,
    )
    is_colour = len(loaded.event_shape) == 3 and loaded.event_shape[0] == 3
    if is_colour and config.binarization is None and loaded.batch_transform is not None and not config.dequantize:
        raise ValueError(
            f"Expected a likelihood of colours for {loaded.name}, images of 3 channels; got Bernoulli, for which they "
            f"would be binarized. Use --likelihood DiscretizedLogisticMixture, or give --binarization dynamic."
        )
    return loaded


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


def part_settings(config: Namespace) -> dict[str, dict[str, Any]]:
    """The settings of the parts of a model, for `settings.build`."""
    return {
        part: config[part].as_dict()
        for part in settings.PARTS
        if part in config and part != "objective" and config[part].name
    }


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
    load_params(folder, module, device)
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
