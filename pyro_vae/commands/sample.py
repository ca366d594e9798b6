"""Draw images from a trained model, means of p(x|z) for z from the prior; or data as arrays, to a .npz file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from matplotlib.figure import Figure
from torch import Tensor

from ..pairs.batch import Points
from ..plots import beside_nearest, images_among, said_noise, samples
from ..runs.folder import require_run, title_of
from ..runs.given_data import given_data
from ..runs.loading import load_run, x_of
from ..runs.parser import Parser
from ..training.device import choose_device
from ..uses.generate import sample
from ..uses.memorization import nearest, nearest_share
from .pictures import add_picture_options, by_site, like_of, save

ACROSS = 4  # draws in a row, each beside what is nearest to it


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    add_picture_options(
        parser, "--num-samples", "Data points to draw, with the other inputs of test data.", arrays=True
    )
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
    noise: dict[str, Any] = {"temperature": chosen.temperature, "truncation": chosen.truncation}

    def draw() -> Figure:
        if chosen.nearest:
            return _beside_nearest(chosen, folder, module, like, noise)
        return samples(module.model, like, seed=chosen.seed, title=title_of(folder), **noise)

    def arrays() -> dict[str, Tensor]:
        draws, means = sample(module.model, like, seed=chosen.seed, **noise)
        return by_site("draws", draws) | by_site("means", means)

    save(chosen, "samples.png", draw, arrays)


def _beside_nearest(chosen: Namespace, folder: Path, module: Any, like: Points, noise: dict[str, Any]) -> Figure:
    """Means beside the training images that are nearest to them; says how often these are nearer than test images."""
    shape = images_among(like).shape[1:]
    _, means = sample(module.model, like, seed=chosen.seed, **noise)
    train, test = (
        x_of(given.data, given.points) for given in (_given(chosen, folder, part) for part in ("train", "test"))
    )
    if not isinstance(means, Tensor) or train.shape[1:] != shape:
        raise ValueError("Expected a model of one site, images, for --nearest; got several. Leave --nearest out.")
    means = means.cpu()
    _, places = nearest(means, train, count=chosen.nearest)
    print(nearest_share(means, train, test, seed=chosen.seed))
    what = f"draws{said_noise(**noise)}, each with the nearest training images on its right"
    across = min(ACROSS, len(means))
    return beside_nearest(means, train[places], across=across, title=f"{title_of(folder)}\n{what}")


def _given(chosen: Namespace, folder: Path, part: Any) -> Any:
    return given_data(folder, None, part, root=chosen.root)
