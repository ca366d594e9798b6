"""What the commands that draw one run, or give its numbers as arrays, have in common."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import Namespace
from matplotlib.figure import Figure
from torch import Tensor

from ..disk.json_files import write_json
from ..disk.writing import FORMATS, TABLES, save_figure, save_table, written_whole
from ..pairs.batch import Points
from ..plots import at_width
from ..plots.images import wrapped
from ..runs.environment import environment
from ..runs.folder import doubts_of, read_about, require_run
from ..runs.loading import command_line, data_of, load_run, points_of, random_subset, read_run
from ..runs.options import add_root_option, add_run_options, add_trust_option
from ..runs.parser import Parser
from ..training.device import choose_device

CODES = 256  # test images from whose codes it is found which latent dimensions vary most
ARRAYS = (".npz", ".npy")


def add_picture_options(
    parser: Parser, count: str, text: str, *, default: int | None = 64, data: bool = True, arrays: bool = False
) -> None:
    """Options of a command that draws pictures from one run; with its data, where these may have moved."""
    parser.add_argument("run", metavar="RUN", type=str, help="Run folder.")
    parser.add_argument(count, type=int if default else int | None, default=default, help=text)
    kinds = f"A .png, .pdf or .svg file{', or arrays as .npz or .npy' if arrays else ''}"
    add_run_options(parser, out=f"{kinds}; by default a .png in the run folder.")
    add_width_option(parser)
    (add_root_option if data else add_trust_option)(parser)


def add_width_option(parser: Parser) -> None:
    """--figure-width"""
    text = "Inches, for a paper: 3.25 is a column of two. Letters keep their size. By default as each figure has it."
    parser.add_argument("--figure-width", type=float | None, default=None, metavar="INCHES", help=text)


def as_wide_as_asked(figure: Figure, chosen: Namespace) -> Figure:
    """The figure at the width of --figure-width, if there is one."""
    width = chosen.get("figure_width")
    return figure if width is None else at_width(figure, width)


def load_pictured(
    chosen: Namespace, count: int | None, *, option: str | None = None, usual: int = 64, each: int = 1
) -> tuple[Any, Points]:
    """The model of a run, and count x each random test data points, on its device; without a count the usual number,
    and without an option that asks for them fewer will do."""
    folder = require_run(chosen.run)
    test = points_of(data_of(folder, root=chosen.root), "test")
    if count is None:
        count = min(usual, max(len(test) // each, 1))
    if option is not None and not 1 <= count <= len(test) // each:
        raise ValueError(f"Expected {option} from 1 to {len(test) // each:,}, all of the test data; got {count}.")
    device = choose_device(chosen.device)
    module, _ = load_run(folder, device)
    return module, test[random_subset(len(test), count * each, chosen.seed)].to(device)


def like_of(folder: Path, count: int, *, seed: int, root: str | None) -> Points:
    """What to draw so many data points from the model with: for a pair that is called with more than x, the inputs of
    random test data, some of them several times where there are fewer."""
    config, about = read_run(folder)
    if not config.inputs:
        return torch.zeros(count, *about["event_shape"])
    test = points_of(data_of(folder, root=root), "test")
    order = random_subset(len(test), len(test), seed)
    return test[order.repeat(-(-count // len(test)))[:count]]


def with_doubts(figure: Figure, folder: Path) -> Figure:
    """The figure of a run, with what speaks against the run below it."""
    if doubts := doubts_of(read_about(folder)):
        text = wrapped("\n".join(doubts), width=figure.get_figwidth() - 0.2, size=8)
        if figure.get_layout_engine() is None:  # a picture, whose axes stand where they were put: room below them
            height, more = figure.get_figheight(), 0.18 * len(text.splitlines())
            figure.set_figheight(height + more)
            for axes in figure.axes:
                left, bottom, width, tall = axes.get_position().bounds
                whole = height + more
                axes.set_position((left, (bottom * height + more) / whole, width, tall * height / whole))
        figure.supxlabel(text, fontsize=8)
    return figure


def place_of(chosen: Namespace, name: str, kinds: Sequence[str]) -> Path:
    """The file that `save` will write: one of these kinds, and with --out a new one or to be overwritten."""
    path = Path(chosen.out or Path(chosen.run) / name)
    if path.suffix not in kinds:
        raise ValueError(f"Expected --out to be a file that ends in {', '.join(kinds)}; got {path}.")
    if chosen.out and path.exists() and not chosen.overwrite:
        raise FileExistsError(f"Expected a new file; {path} is there already. Add --overwrite, or another --out.")
    return path


def save(
    chosen: Namespace,
    name: str,
    draw: Callable[[], Figure] | None = None,
    arrays: Callable[[], Mapping[str, Tensor | np.ndarray]] | None = None,
    table: Callable[[], Any] | None = None,
) -> None:
    """Save a figure, arrays or a data frame, as they are made, where --out says, else in the run folder, under this
    name, where it replaces the one before. In a .npy file the first array stands alone."""
    kinds = [*(FORMATS if draw else ()), *(TABLES if table else ()), *(ARRAYS if arrays else ())]
    path = place_of(chosen, name, kinds)
    if draw is not None and path.suffix in FORMATS:
        figure = with_doubts(as_wide_as_asked(draw(), chosen), Path(chosen.run))
        path.parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, path)
    elif table is not None and path.suffix in TABLES:
        made = table()
        path.parent.mkdir(parents=True, exist_ok=True)
        save_table(made, path)
    elif arrays is not None:
        content = {key: value.cpu().numpy() if isinstance(value, Tensor) else value for key, value in arrays().items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        packed = io.BytesIO()
        if path.suffix == ".npz":
            np.savez_compressed(packed, allow_pickle=False, **content)
        else:
            np.save(packed, next(iter(content.values())), allow_pickle=False)
        with written_whole(path) as file:
            file.write(packed.getvalue())
    print(f"saved in {path}")


def save_result(
    folder: Path, name: str, result: Any, figure: Figure, *, kind: str, about: dict[str, Any], module: Any, device: Any
) -> None:
    """Save the numbers of a result on one run, with what they are about and made by, and their figure in its folder."""
    content = result.to_json() | about | {"command": command_line()} | environment(device, module)
    write_json(folder / f"{name}.json", content, kind=kind)
    save_figure(figure, folder / f"{name}.png")
    print(f"saved in {folder / name}.json, {folder / name}.png")


def by_site(name: str, data: Any) -> dict[str, Tensor]:
    """Data of one site under a name, of several under NAME.SITE."""
    return {f"{name}.{site}": values for site, values in data.items()} if isinstance(data, dict) else {name: data}
