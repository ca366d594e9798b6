"""What the commands that draw one run have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from matplotlib.figure import Figure

from ..disk.writing import save_figure
from ..pairs.batch import Points
from ..plots import check_images, images_among
from ..runs.folder import require_run
from ..runs.loading import data_of, load_run, points_of, random_subset, read_run
from ..runs.options import add_root_option, add_run_options
from ..runs.parser import Parser
from ..training.device import choose_device

CODES = 256  # test images from whose codes it is found which latent dimensions vary most


def add_picture_options(parser: Parser, count: str, text: str, *, default: int = 64, data: bool = True) -> None:
    """Options of a command that draws pictures from one run; with its data, where these may have moved."""
    parser.add_argument("run", metavar="RUN", type=str, help="Run folder.")
    parser.add_argument(count, type=int, default=default, help=text)
    add_run_options(parser, out="A .png file; by default in the run folder.")
    if data:
        add_root_option(parser)


def load_pictured(chosen: Namespace, count: int, *, option: str | None = None, each: int = 1) -> tuple[Any, Points]:
    """The model of a run, and count x each random test images, on its device.

    Raises:
        ValueError: more images asked for by the option than there are; without an option, all there are will do.
    """
    folder = require_run(chosen.run)
    test = points_of(data_of(folder, root=chosen.root), "test")
    if option is not None and not 1 <= count <= len(test) // each:
        raise ValueError(f"Expected {option} from 1 to {len(test) // each:,}, all test images; got {count}.")
    device = choose_device(chosen.device)
    module, _ = load_run(folder, device)
    images = test[random_subset(len(test), count * each, chosen.seed)].to(device)
    check_images(images_among(images).shape)
    return module, images


def like_of(folder: Path, count: int, *, seed: int, root: str | None) -> Points:
    """What to draw so many data points from the model with: for a pair that is called with more than x, the inputs of
    random test data, some of them several times where there are fewer."""
    config, about = read_run(folder)
    if not config.inputs:
        return torch.zeros(count, *about["event_shape"])
    test = points_of(data_of(folder, root=root), "test")
    order = random_subset(len(test), len(test), seed)
    found: Points = test[order.repeat(-(-count // len(test)))[:count]]
    return found


def save(figure: Figure, chosen: Namespace, name: str) -> None:
    """Save a figure where --out says, else in the run folder, where it replaces the one before.

    Raises:
        ValueError: not a .png.
        FileExistsError: --out is there already and --overwrite is not given.
    """
    path = Path(chosen.out or Path(chosen.run) / name)
    if path.suffix != ".png":
        raise ValueError(f"Expected --out to be a .png file; got {path}.")
    if chosen.out and path.exists() and not chosen.overwrite:
        raise FileExistsError(f"Expected a new file; {path} is there already. Add --overwrite, or another --out.")
    path.parent.mkdir(parents=True, exist_ok=True)
    save_figure(figure, path)
    print(f"saved in {path}")
