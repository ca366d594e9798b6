"""Give back what compress has compressed, in every bit unless it was lossy; with the same run, on any machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace

from ..compression import decompress, decompress_lossy
from ..compression.container import is_lossy
from ..disk.reading import read_whole
from ..disk.writing import written_whole
from ..runs.folder import require_run
from ..runs.loading import load_run
from ..runs.options import add_trust_option
from ..runs.parser import Parser
from .compress import new_file


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    add = parser.add_argument
    add("run", metavar="RUN", type=str, help="Run folder, with the weights that it was compressed with.")
    add("file", metavar="FILE", type=str, help="The compressed file.")
    add("-o", "--out", type=str | None, default=None, help="An .npy file; by default FILE, ending in .npy.")
    add("--overwrite", action="store_true", help="Replace an earlier file.")
    add_trust_option(parser)
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Decompress a file."""
    folder, path = require_run(chosen.run), Path(chosen.file)
    out = new_file(chosen, path.with_suffix(""), ".npy")
    if out.suffix != ".npy":
        raise ValueError(f"Expected --out to be a file that ends in .npy; got {out}.")
    content = read_whole(path, limit=None)
    module, _ = load_run(folder, torch.device("cpu"))
    restore = decompress_lossy if is_lossy(content) else decompress
    x = restore(module.model, module.guide, content, progress=True).numpy()
    with written_whole(out) as target:
        np.save(target, x, allow_pickle=False)
    print(f"{len(x):,} data points of {x.dtype.name}, {tuple(x.shape[1:])} each, saved in {out}")
