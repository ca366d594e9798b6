"""Draw images from a trained model, means of p(x|z) for z from the prior; or data as arrays, to a .npz file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import Namespace
from matplotlib.figure import Figure
from torch import Tensor

from ..arguments.nearest import did_you_mean
from ..data.categories import Categories, names_of
from ..data.names import KNOWN, some
from ..pairs.batch import Batch, Points, taking
from ..pairs.unconditional import conditions_of
from ..plots import beside_nearest, images_among, said_noise, samples
from ..runs.folder import require_run, title_of
from ..runs.given_data import given_data
from ..runs.loading import load_run, read_run, x_of
from ..runs.named_inputs import NamedInputs
from ..runs.parser import Parser
from ..training.device import choose_device
from ..uses.generate import sample
from ..uses.memorization import nearest, nearest_share
from .pictures import add_picture_options, by_site, like_of, save

ACROSS = 4  # draws in a row, each beside what is nearest to it


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    text = "Data points to draw, with the other inputs of test data."
    add_picture_options(parser, "--num-samples", text, arrays=True)
    text = "Other inputs than those of test data: --given y=3, or several in turn, y=0,1,2; categories by name, y=T,B."
    parser.add_argument("--given", metavar="ARGUMENT=VALUE", type=str, nargs="*", default=[], help=text)
    text = "What the scales of the latents are multiplied by: below 1, draws are more typical, and less varied."
    parser.add_argument("--temperature", type=float, default=1.0, help=text)
    text = "Latents at most so many of their scales away from their means, 2 for instance; by default anywhere."
    parser.add_argument("--truncation", type=float | None, default=None, help=text)
    text = "Show beside each draw so many training images, the nearest ones, and say whether it copies them."
    parser.add_argument("--nearest", type=int, default=0, help=text)
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Draw data points."""
    for name, least in (("num_samples", 1), ("nearest", 0)):
        if chosen[name] < least:
            raise ValueError(f"Expected --{name.replace('_', '-')} >= {least}; got {chosen[name]}.")
    device, folder = choose_device(chosen.device), require_run(chosen.run)
    module, _ = load_run(folder, device)
    like = like_of(folder, chosen.num_samples, seed=chosen.seed, root=chosen.root).to(device)
    categories = NamedInputs.of_run(*read_run(folder)).categories
    known = conditions_of(taking(like, module.model)[0], None, like[:8])
    like, inputs = _with_given(like, known, chosen.given, categories)
    title = f"{title_of(folder)}{inputs and f', {inputs}'}"
    if inputs:
        print(f"given  {inputs}")
    noise: dict[str, Any] = {"temperature": chosen.temperature, "truncation": chosen.truncation}

    def draw() -> Figure:
        if chosen.nearest:
            return _beside_nearest(chosen, folder, module, like, noise, title)
        return samples(module.model, like, seed=chosen.seed, title=title, **noise)

    def arrays() -> dict[str, Tensor | np.ndarray]:
        draws, means = sample(module.model, like, seed=chosen.seed, **noise)
        given = _inputs_given(like, known, categories)
        return by_site("draws", draws) | by_site("means", means) | given

    save(chosen, "samples.png", draw, arrays)


def _with_given(like: Points, known: Sequence[str], given: Sequence[str], categories: Categories) -> tuple[Points, str]:
    """What to draw from the model for, with the inputs that were asked for, and whose inputs these are, in words; the
    draws are conditional on the known ones alone."""
    values: dict[str, list[float]] = {}
    for word in given:
        name, _, text = word.partition("=")
        entry = dict(like.named()).get(name) if isinstance(like, Batch) and name in known else None
        if entry is None:
            raise ValueError(
                f"Expected --given for one of the inputs that draws are conditional on, {', '.join(known) or 'none'}; "
                f"got {word!r}."
            )
        values[name] = _values(name, text, categories.get(name))
        if entry.dim() > 1 or not (entry.is_floating_point() or all(value.is_integer() for value in values[name])):
            kind = "numbers" if entry.is_floating_point() else "whole numbers"
            shape = tuple(entry.shape[1:])
            raise ValueError(f"Expected --given for an input of one of {kind} each; got {word!r}, of shape {shape}.")

    def chosen(name: str, entry: Tensor) -> Tensor:
        turns = torch.tensor(values.get(name, [0.0]), dtype=entry.dtype, device=entry.device)
        return turns.repeat(-(-len(entry) // len(turns)))[: len(entry)] if name in values else entry

    def said(name: str, turns: Sequence[float]) -> str:
        names = categories.get(name)
        return ", ".join(f"{turn:g}" if names is None else names[int(turn)] for turn in turns)

    words = [f"{name} = {said(name, turns)}" for name, turns in values.items()]
    left = [name for name in known if name not in values]
    words += [f"{', '.join(left)} of random test data"] if left else []
    return like.replaced(chosen) if isinstance(like, Batch) else like, "; ".join(words)


def _inputs_given(like: Points, known: Sequence[str], categories: Categories) -> dict[str, Tensor | np.ndarray]:
    """What each draw is conditional on, as ``given.ARGUMENT``; categories by their names."""
    entries = dict(like.named()) if isinstance(like, Batch) else {}
    found = {name: entry for name in known if (entry := entries.get(name)) is not None}
    return {f"given.{name}": names_of(entry, categories.get(name)) for name, entry in found.items()}


def _values(name: str, text: str, names: Sequence[str] | None) -> list[float]:
    """The values of an input, separated by commas: names of its categories, else numbers."""
    if names is None:
        try:
            return [float(word) for word in text.split(",")]
        except ValueError as error:
            raise ValueError(f"Expected --given {name}=VALUE with numbers; got '{name}={text}'.") from error
    words = [text] if text in names else text.split(",")
    if (other := next((word for word in words if word not in names), None)) is not None:
        near = did_you_mean(other, names)
        raise ValueError(f"Expected --given {name} with its categories, {some(names, KNOWN)}; got {other!r}.{near}")
    return [float(names.index(word)) for word in words]


def _beside_nearest(
    chosen: Namespace, folder: Path, module: Any, like: Points, noise: dict[str, Any], title: str
) -> Figure:
    """Means beside the training images that are nearest to them; says how often these are nearer than test images."""
    shape = images_among(like).shape[1:]
    _, means = sample(module.model, like, seed=chosen.seed, **noise)
    own = [given_data(folder, None, part, root=chosen.root) for part in ("train", "test")]
    train, test = (x_of(given.data, given.points) for given in own)
    if not isinstance(means, Tensor) or train.shape[1:] != shape:
        raise ValueError("Expected a model of one site, images, for --nearest; got several. Leave --nearest out.")
    means = means.cpu()
    _, places = nearest(means, train, count=chosen.nearest)
    print(nearest_share(means, train, test, seed=chosen.seed))
    what = f"draws{said_noise(**noise)}, each with the nearest training images on its right"
    across = min(ACROSS, len(means))
    return beside_nearest(means, train[places], across=across, title=f"{title}\n{what}")
