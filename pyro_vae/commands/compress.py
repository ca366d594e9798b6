"""Compress data to a file with the model of a run, without loss or, with --lossy, to fewer bytes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import Namespace
from numpy.typing import NDArray

from .. import data
from ..arguments.nearest import did_you_mean, file_nearest
from ..compression import compress, compress_lossy, decompress, decompress_lossy
from ..data.arrays import data_of_arrays
from ..data.numpy_files import read_arrays
from ..data.sources import ARRAYS
from ..disk.writing import written_whole
from ..runs.folder import require_run
from ..runs.given_data import Split, given_data
from ..runs.loading import binarization, load_run, read_run
from ..runs.options import add_root_option
from ..runs.parser import Parser


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    add = parser.add_argument
    add("run", metavar="RUN", type=str, help="Run folder.")
    text = (
        f"An .npy or .npz file, whose array decompress will give back as it is; or {', '.join(data.NAMES)}, a table or "
        f"a folder of images, whose values it will give back in their order."
    )
    add("data", metavar="DATA", type=str, help=text)
    add("--split", type=Split, default="test", help="Which data points, of data that have splits.")
    add_root_option(parser)
    add("-o", "--out", type=str | None, default=None, help="The compressed file; by default DATA, ending in .pvz.")
    add("--array", type=str | None, default=None, help="Name of the array in an .npz file of several.")
    text = "Keep rounded codes alone, on a grid of so many scales of the guide: 1 for little loss, more for less."
    add("--lossy", type=float | None, metavar="STEP", default=None, help=text)
    add("--check", action="store_true", help="Decompress it at once and compare, before anything is written.")
    add("--overwrite", action="store_true", help="Replace an earlier file.")
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Compress data."""
    folder, path = require_run(chosen.run), Path(chosen.data)
    out = new_file(chosen, path.resolve() if path.is_dir() else path.with_suffix(""), ".pvz")
    config, about = read_run(folder)
    if config.inputs:
        raise ValueError(f"Expected a model that is called with x alone; got one of {', '.join(config.inputs)}.")
    is_array = path.suffix.lower() in ARRAYS
    x = _as_trained_on(_array(path, chosen.array), path, config) if is_array else _levels(chosen, folder)
    module, _ = load_run(folder, torch.device("cpu"))
    shape = tuple(about["event_shape"])
    if chosen.lossy is not None:
        file = compress_lossy(module.model, module.guide, x, step=chosen.lossy, event_shape=shape, progress=True)
    else:
        file = compress(module.model, module.guide, x, event_shape=shape, progress=True)
    if chosen.check or chosen.lossy is not None:
        restore = decompress if chosen.lossy is None else decompress_lossy
        restored = restore(module.model, module.guide, file, progress=True).numpy()
        if chosen.lossy is None and restored.tobytes() != x.tobytes():
            raise RuntimeError("Expected the data back; got others. Please report this.")
    with written_whole(out) as target:
        target.write(file)
    bits = 8 * len(file)
    print(f"{len(x):,} data points in {len(file):,} bytes: {bits / len(x):,.1f} bits each, {bits / x.size:.3f} a value")
    if chosen.lossy is not None:
        error = np.mean((restored.astype(np.float64) - x) ** 2)
        print(f"mean squared error {error:.3g}, for values from {x.min()} to {x.max()}")
    print(f"saved in {out}")


def new_file(chosen: Namespace, usual: Path, ending: str) -> Path:
    """The file to write, by default one like another, with this ending; there only with --overwrite."""
    out = Path(chosen.out or usual.with_name(usual.name + ending))
    if out.exists() and not chosen.overwrite:
        raise FileExistsError(f"Expected a new file; {out} is there already. Add --overwrite, or another --out.")
    return out


def _levels(chosen: Namespace, folder: Path) -> NDArray[Any]:
    """Data that are no array: 8-bit and binary ones as whole numbers, others as the model takes them."""
    if chosen.array is not None:
        raise ValueError(f"Expected an .npz file with --array; got {chosen.data}. Leave --array out.")
    given = given_data(folder, chosen.data, chosen.split, root=chosen.root)
    assert isinstance(given.points, torch.Tensor)
    x: NDArray[Any] = given.points.numpy()
    one = np.float32(255 if given.data.levels == 256 else 1)
    levels: NDArray[Any] = np.rint(np.nan_to_num(x) * one).clip(0, 255).astype(np.uint8)
    is_whole = np.array_equal(levels / one, x)
    what = f"whole numbers from 0 to {one:.0f}" if is_whole else f"values of {x.dtype}"
    print(f"data   {given.protocol}: {what} are what comes back")
    return levels if is_whole else x


def _array(path: Path, name: str | None) -> NDArray[Any]:
    if not path.is_file():
        raise FileNotFoundError(f"Expected an .npy or .npz file at {path}; got none.{file_nearest(path)}")
    arrays = read_arrays(path)
    if name is None and len(arrays) > 1:
        raise ValueError(f"Expected --array, one of {', '.join(sorted(arrays))}, the arrays of {path}; got none.")
    name = next(iter(arrays)) if name is None else name
    if name not in arrays:
        near = did_you_mean(name, arrays)
        raise ValueError(f"Expected --array to be one of {', '.join(sorted(arrays))}; got {name}.{near}")
    return arrays[name]


def _as_trained_on(x: NDArray[Any], path: Path, config: Namespace) -> NDArray[Any]:
    """Data as the model of a run takes them: grey ones binarized once, in its way, which is said."""
    way = binarization(config)
    if way == "none" or x.dtype.kind not in "biuf" or ((x == 0) | (x == 1)).all():
        return x
    found = data_of_arrays({"images": x}, path, binarization=way, seed=config.data_seed, order="whole")
    print(f"data   {found.protocol}: these pixels are what comes back, 0 or 1, not the grey ones")
    pixels: NDArray[Any] = found.test.numpy().astype(np.uint8)
    return pixels.reshape(x.shape) if pixels.shape[1:] == (1, *x.shape[1:]) else pixels
