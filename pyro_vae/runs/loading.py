"""From settings to objects that work: data, device, trained models."""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from torch import Tensor

from .. import data
from ..arguments.memory import physical_memory, require_memory
from ..data import Data
from ..data.categories import Categories
from ..data.entries import describe_calls
from ..pairs.batch import Points, check_call
from ..pairs.inputs import as_points
from .allowance import at_most
from .folder import load_params, load_weights, read_about, require_same_data
from .named_inputs import categories_of, inputs_of
from .own_classes import own_classes
from .parts import PARTS, build
from .settings import read_settings

SPARE = 16  # times the bytes of weights and training data, that a model takes at most while it is made


def load_data(
    config: Namespace,
    *,
    root: str | None = None,
    columns: Sequence[str] | None = None,
    categories: Categories | None = None,
) -> Data:
    """The data of a run, from another root if given; by the names of the columns of x and of the categories of other
    inputs, if given.

    Raises:
        ValueError: colours would be binarized, though nobody asked for it.
    """
    if config.dequantize and binarization(config) != "none":
        raise ValueError(
            f"Expected binarization 'none' to dequantize; got {binarization(config)!r}. Use a likelihood of real "
            f"values, such as Gaussian, ContinuousBernoulli or Beta, or no dequantization."
        )
    loaded = data.load(
        config.data,
        root or config.root,
        binarization=binarization(config),
        download=config.download,
        seed=config.data_seed,
        missing=config.missing,
        inputs=inputs_of(config),
        order=config.order,
        columns=columns,
        categories=categories,
        beside=config.beside,
        resize=config.resize,
    )
    if config.dequantize:
        loaded = data.dequantized(loaded, seed=config.data_seed)
    if config.num_train is not None:
        loaded = loaded.with_fewer(config.num_train, seed=config.data_seed)
    is_colour = len(loaded.event_shape) == 3 and loaded.event_shape[0] == 3
    if is_colour and config.binarization is None and loaded.batch_transform is not None and not config.dequantize:
        raise ValueError(
            f"Expected a likelihood of colours for {loaded.name}, images of 3 channels; got Bernoulli, for which they "
            f"would be binarized. Use --likelihood DiscretizedLogisticMixture, or give --binarization dynamic."
        )
    return loaded


def check_inputs(module: Any, dataset: Data) -> None:
    """Raise a ValueError, with the option that helps, unless the model can be called with what the data hold."""
    try:
        check_call(points_of(dataset, "test"), module.model)
    except TypeError:
        arrays = [dataset.main, *(["labels"] if dataset.labels is not None else []), *dataset.others]
        wanted = [
            name
            for name, each in inspect.signature(module.model).parameters.items()
            if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]
        left = [array for array in arrays[1:] if array not in wanted]
        given = [arrays[0], *(name if name in arrays else left.pop(0) if left else "ARRAY" for name in wanted[1:])]
        said = " ".join(f"{name}={array}" for name, array in zip(wanted, given, strict=False))
        got = describe_calls(dataset.inputs) if dataset.inputs else f"{dataset.main} alone"
        raise ValueError(
            f"Expected the inputs {', '.join(wanted)} that {type(module).__name__}.model takes; got {got}. Say which "
            f"arrays of the data they are, such as --inputs {said}; {dataset.name} has {', '.join(arrays)}."
        ) from None


def points_of(dataset: Data, part: str) -> Points:
    """What the pair is called with for all of a split."""
    return as_points(part, dataset.given(part))


def x_of(dataset: Data, points: Points) -> Tensor:
    """x among what the pair is called with."""
    if isinstance(points, Tensor):
        return points
    place = dataset.place_of_x
    found = points.args[place] if isinstance(place, int) else points.kwargs[place]
    assert found is not None
    return found


def binarization(config: Namespace) -> data.Binarization:
    """How the data of a run are binarized: as it says, else as its likelihood wants them."""
    likelihood = config.get("likelihood")
    is_binary = likelihood is not None and "Bernoulli" in (likelihood.class_path, likelihood.init_args.get("pixels"))
    return config.binarization or ("dynamic" if is_binary else "none")


def build_model(config: Namespace, **data: Any) -> Any:
    """The model of a run; from the data come what `build` asks for.

    Raises:
        ValueError: an option of a part that does not fit, or sizes that fill more than a quarter of the memory.
    """
    parts = {part: config[part].as_dict() for part in PARTS if part in config}
    with at_most(physical_memory() // 4, what="a model that leaves room for training"):
        return build(parts, latent_dim=config.latent_dim, seed=config.seed, missing=config.missing, **data)


def random_subset(count: int, wanted: int, seed: int) -> Tensor:
    """Indices of a random subset, the same for the same seed."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))[:wanted]


def read_run(folder: Path) -> tuple[Namespace, dict[str, Any]]:
    """The settings of a run, and what it saw (run.json)."""
    with own_classes(folder):
        return read_settings(folder / "settings.yaml"), read_about(folder)


def data_of(folder: Path, *, root: str | None = None) -> Data:
    """The data that a run was trained on, from another root if given.

    Raises:
        FileNotFoundError: they are not where they were.
        ValueError: what is there now is not what it was trained on.
    """
    config, about = read_run(folder)
    begun = Path(about.get("working_directory", "."))  # what relative paths started from
    there = begun / (config.root or ("data" if config.data in data.NAMES else ""))
    root = root or (None if begun == Path.cwd() else str(there))
    try:
        found = load_data(config, root=root, categories=categories_of(config, about))
    except FileNotFoundError as error:
        said = str(error) if str(error).endswith((".", "?")) else f"{error}."
        raise FileNotFoundError(
            f"{said} If the data of {folder} have moved, --root (root=...) says which folder {config.data} is in now."
        ) from error
    return require_same_data(folder, found)


def load_run(folder: Path, device: torch.device) -> tuple[Any, dict[str, Any]]:
    """The trained model of a run. Its data are not needed: what came from them is among the weights."""
    with own_classes(folder):
        config, about = read_run(folder)
        shape, count = tuple(about["event_shape"]), about["num_train"]
        require_memory(count * math.prod(shape), f"the training data of {folder}")
        size = (folder / "weights.safetensors").stat().st_size + 4 * count * math.prod(shape)
        with at_most(SPARE * size, what=f"a model whose weights are in {folder / 'weights.safetensors'}"):
            mean, pseudo_inputs = torch.full(shape, 0.5), torch.zeros(count, *shape)
            module = build_model(config, event_shape=shape, mean=mean, pseudo_inputs=pseudo_inputs)
    load_weights(folder, module)
    load_params(folder, module, device)
    return module.to(device), about


def command_line() -> str:
    """The command, as it was typed."""
    return " ".join(["pyro-vae", *sys.argv[1:]])
