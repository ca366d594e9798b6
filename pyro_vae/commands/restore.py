"""Restore damaged data by a trained model: what a mask leaves out, noise, or coarse pixels; several samples of each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import Namespace
from matplotlib.figure import Figure
from torch import Tensor

from .. import data
from ..arguments.at_least import at_least
from ..data.numpy_files import read_arrays
from ..data.sources import ARRAYS
from ..disk.writing import TABLES
from ..output.frames import frame
from ..plots import image_rows, images_among
from ..runs.environment import few_threads
from ..runs.folder import require_run, title_of
from ..runs.given_data import add_given_options, check_given, given_data
from ..runs.loading import load_run, random_subset, read_run
from ..runs.named_inputs import columns_of
from ..runs.options import add_run_options
from ..runs.parser import Parser
from ..training.device import choose_device
from ..uses.missing_values import missing_log_prob
from ..uses.observations import Denoising, Inpainting, SuperResolution
from ..uses.restoration import restore
from ..uses.restored import Restoration
from .pictures import FORMATS, place_of, save

DAMAGES = ("mask", "noise", "downsample")
PICTURE = "restored.png"
OUT = "A .png, .pdf or .svg file, arrays as .npz, or a table of the means, .parquet, .csv or .tsv"


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    add_given_options(parser)
    add = parser.add_argument
    text = (
        "Known values: a .npy file of the shape of one or of all data points, 0 where a value is missing; or the share "
    )
    add("--mask", type=float | str | None, default=None, help=f"{text}that is left out at random.")
    add("--noise", type=float | None, default=None, help="Standard deviation of noise, in units of x.")
    text = "Pixels along a side of the blocks that are known by their means."
    add("--downsample", type=int | None, default=None, help=text)
    text = (
        "DATA, a file or folder, are damaged already; by default they are damaged here, and the error is known. NaN "
        "marks what is missing of them, without --mask."
    )
    add("--damaged", type=bool, nargs="?", const=True, default=False, help=text)
    add("--num-images", type=int, default=8, help="A seeded random subset of so many data points; 0 for all.")
    add("--num-samples", type=int, default=4, help="Samples of each.")
    text = "Draws of the guide, of which chains are chosen by their weights."
    add("--num-proposals", type=int, default=100, help=text)
    add("--num-transitions", type=int, default=50, help="Hamiltonian transitions of each chain.")
    add_run_options(parser, out=f"{OUT}; by default a .png in the run folder.")
    return parser.parse_args(arguments)


@dataclass(frozen=True)
class _Task:
    """What is to be restored."""

    observation: Any
    y: Tensor
    x: Tensor | None  # the truth, where it is known
    words: str
    numbers: Tensor  # of the data points


def run(chosen: Namespace) -> None:
    """Restore data points, and say how well where the truth is known."""
    folder, device = require_run(chosen.run), choose_device(chosen.device)
    at_least(1, num_samples=chosen.num_samples, num_proposals=chosen.num_proposals)
    at_least(0, num_images=chosen.num_images, num_transitions=chosen.num_transitions)
    out = place_of(chosen, PICTURE, (*FORMATS, *TABLES, *ARRAYS))
    module, about = load_run(folder, device)
    task = _task(chosen, folder, module, device)
    if out.suffix in FORMATS:
        images_among(task.y)  # for its error, before the work
    print(f"{folder}\ndata   {task.words}\n")
    with few_threads(module):
        how = {name: chosen[name] for name in ("num_samples", "num_proposals", "num_transitions", "seed")}
        result = restore(module.model, module.guide, task.y, task.observation, **how, progress=True)
        print(result)
        if task.x is not None:
            for name, text in _errors(chosen, module, task, task.x, result):
                print(f"{name:<22}{text}")
    print()

    def arrays() -> dict[str, Tensor]:
        found = {"restored": result.mean, "samples": result.samples, "damaged": task.y}
        found |= {"ess": result.ess, "acceptance": result.acceptance}
        return found if task.x is None else {**found, "originals": task.x}

    def table() -> Any:
        flat = result.mean.flatten(1).numpy()
        names = about.get("columns", [f"x_{i}" for i in range(flat.shape[1])])
        index = "id"
        while index in names:
            index += "_"
        return frame(dict(zip(names, flat.T, strict=True)), index=task.numbers.tolist(), index_name=index).reset_index()

    save(chosen, PICTURE, lambda: _figure(task, result, title=title_of(folder)), arrays, table)


def _task(chosen: Namespace, folder: Path, module: Any, device: torch.device) -> _Task:
    """The data and what is known of them."""
    given = [name for name in DAMAGES if chosen[name] is not None]
    if len(given) > 1:
        raise ValueError(
            f"Expected one of --mask, --noise and --downsample; got {' and '.join(f'--{n}' for n in given)}."
        )
    x, words = _read(chosen, folder)
    if not given and not x.isnan().any():
        raise ValueError(
            "Expected one of --mask, --noise and --downsample, or NaN in the data where values are missing; got none."
        )
    if given and given != ["mask"] and (count := int(x.isnan().sum())):
        raise ValueError(
            f"Expected no missing values under --{given[0]}; got {count:,} NaN. Without that option they are restored."
        )
    if not chosen.damaged:
        check_given(module, x.to(device))
    numbers = random_subset(len(x), chosen.num_images or len(x), chosen.seed).sort().values
    subset = f"a random {len(numbers):,} (seed {chosen.seed}) of: " if len(numbers) < len(x) else ""
    total, x = len(x), x[numbers]
    draws = torch.Generator().manual_seed(chosen.seed)
    observation: Any = Inpainting()
    if not given:
        y, how = x, f"{x.isnan().double().mean().item():.0%} of the values missing"
    elif given == ["mask"]:
        known = _known(chosen.mask, x, total, numbers, draws)
        y, how = torch.where(known, x, math.nan), f"{1 - known.double().mean().item():.0%} of the values left out"
    elif given == ["noise"]:
        observation = Denoising(chosen.noise)
        noise = 0.0 if chosen.damaged else chosen.noise * torch.randn(x.shape, generator=draws)
        y, how = x + noise, f"noise of {chosen.noise:g}"
    else:
        observation = SuperResolution(chosen.downsample)
        y, how = x if chosen.damaged else observation.reduced(x), f"blocks of {chosen.downsample} x {chosen.downsample}"
    truth = None if chosen.damaged or not given else x.to(device)
    return _Task(observation, y.to(device), truth, f"{subset}{words}; {how}", numbers)


def _read(chosen: Namespace, folder: Path) -> tuple[Tensor, str]:
    """The data points, and where they are from."""
    if chosen.damaged:
        if chosen.data is None:
            raise ValueError("Expected DATA with --damaged; got none.")
        takes_missing = Path(chosen.data).suffix.lower() in (*ARRAYS, *TABLES)
        columns = columns_of(read_run(folder)[1], chosen.data)
        loaded = data.load(chosen.data, chosen.root, order="whole", missing=takes_missing, columns=columns)
        return loaded.test, loaded.protocol
    if read_run(folder)[0].inputs:
        raise ValueError(f"Expected a model that is called with x alone; {folder} takes several inputs.")
    given = given_data(folder, chosen.data, chosen.split, root=chosen.root)
    assert isinstance(given.points, Tensor)
    return given.points, given.protocol


def _known(mask: float | str, x: Tensor, total: int, numbers: Tensor, draws: torch.Generator) -> Tensor:
    """Which values of x are known, bool (N, ...)."""
    event = tuple(x.shape[1:])
    if isinstance(mask, float | int):
        if not 0 < mask < 1:
            raise ValueError(f"Expected --mask to be a file, or a share between 0 and 1; got {mask:g}.")
        known = torch.rand(x.shape, generator=draws) >= mask
    else:
        if Path(mask).suffix != ".npy" or not Path(mask).is_file():
            raise ValueError(f"Expected --mask to be a .npy file, or a share between 0 and 1; got {mask}.")
        (found,) = read_arrays(Path(mask)).values()
        shape = tuple(found.shape)
        if shape not in (event, event[1:], (total, *event), (total, *event[1:])):
            raise ValueError(
                f"Expected a mask of the shape of one data point, {event}, or of all, {(total, *event)}; got {shape}."
            )
        values = torch.from_numpy(np.asarray(found) != 0)
        values = values[numbers] if len(shape) and shape[0] == total and shape not in (event, event[1:]) else values
        known = (values.unsqueeze(-len(event)) if shape[-len(event) :] != event else values).expand(x.shape)
    return known & ~x.isnan()


def _errors(chosen: Namespace, module: Any, task: _Task, x: Tensor, result: Restoration) -> list[tuple[str, str]]:
    """How far the restored data are from the truth, and how likely that is."""
    off = (result.mean - x.cpu()).square()
    found = [("squared error", f"{off.mean().item():.4f} a value")]
    if isinstance(task.observation, Inpainting):
        missing = task.y.isnan()
        left_out = missing & ~x.isnan()  # of which the truth is known
        found = [("squared error", f"{off[left_out.cpu()].mean().item():.4f} a missing value")]
        some = left_out.flatten(1).any(1) & (~missing).flatten(1).any(1)
        if some.any():
            estimate = missing_log_prob(module.model, module.guide, x[some], missing[some], seed=chosen.seed)
            found.append(("log p(missing|known)", f"{estimate.mean} nats per data point"))
    return found


def _figure(task: _Task, result: Restoration, *, title: str) -> Figure:
    """Rows of originals, what was known, the mean, and samples."""
    y = task.y.cpu()
    shown = y if y.shape == result.mean.shape else task.observation.enlarged(y)
    rows = {} if task.x is None else {"original": task.x.cpu()}
    rows |= {"damaged": shown, "mean": result.mean}
    rows |= {f"sample {i + 1}": sample for i, sample in enumerate(result.samples.unbind(1))}
    return image_rows(rows, title=title)
