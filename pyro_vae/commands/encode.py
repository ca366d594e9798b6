"""Write the codes of data points, mean and scale of q(z|x) at each latent site, with labels: as a table or arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jsonargparse import Namespace
from torch import Tensor

from ..disk.writing import TABLES
from ..output.frames import frame
from ..output.progress import progress_bar
from ..pairs.batch import Points
from ..runs.folder import require_run, weights_digest
from ..runs.given_data import GivenData, add_given_options, check_given, given_data
from ..runs.loading import load_run
from ..runs.options import add_run_options
from ..runs.parser import Parser
from ..training.device import choose_device
from ..uses.generate import encode_with_scales
from .pictures import save

TOGETHER = 1000  # data points
ARRAYS = "or .npz: SITE, SITE.scale, rows, labels, labels_COLUMN; or .npy: means of the first site"

Codes = Mapping[str, tuple[Tensor, Tensor | None]]


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    add_given_options(parser)
    text = f"A table, {', '.join(TABLES)}: id, row, label, label_COLUMN, SITE_mean_0, ..., SITE_scale_0, ...; {ARRAYS}."
    add_run_options(parser, out=f"{text} By default codes.npz in the run folder.")
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Encode data points."""
    folder, device = require_run(chosen.run), choose_device(chosen.device)
    given = given_data(folder, chosen.data, chosen.split, root=chosen.root)
    module, _ = load_run(folder, device)

    def codes() -> Codes:
        check_given(module, given.points.to(device))
        return _codes(module, given.points, device, seed=chosen.seed)

    about = {"data": given.protocol, "run": str(folder), "weights_sha256": weights_digest(folder)}
    save(chosen, "codes.npz", arrays=lambda: _arrays(codes(), given), table=lambda: _table(codes(), given, about))


def _codes(module: Any, points: Points, device: torch.device, *, seed: int) -> Codes:
    parts = []
    with progress_bar(len(points), unit="data point", shown=True) as bar:
        for x in points.split(TOGETHER):
            found = encode_with_scales(module.model, module.guide, x.to(device), seed=seed)
            parts.append({name: tuple(None if t is None else t.cpu() for t in code) for name, code in found.items()})
            bar.update(len(x))

    def joined(name: str, place: int) -> Any:
        tensors: list[Any] = [part[name][place] for part in parts]
        return None if tensors[0] is None else torch.cat(tensors)

    found = {name: (joined(name, 0), joined(name, 1)) for name in parts[0]}
    for name, (_, scale) in found.items():
        if scale is None:
            print(f"note   q at {name} has no scale in closed form: it is left out, and its code may be a draw")
    return found


def _arrays(codes: Codes, given: GivenData) -> dict[str, Tensor | np.ndarray]:
    arrays: dict[str, Tensor | np.ndarray] = {name: mean for name, (mean, _) in codes.items()}
    arrays |= {f"{name}.scale": scale for name, (_, scale) in codes.items() if scale is not None}
    beside = {name.replace("label", "labels", 1): labels for name, labels in given.labels().items()}
    if rows := given.rows():
        beside["rows"] = rows["row"]
    return arrays | beside


def _table(codes: Codes, given: GivenData, about: Mapping[str, str]) -> Any:
    """A row for each data point; the ids are their numbers in the data, from 0."""
    columns: dict[str, Any] = {**given.rows(), **given.labels()}
    for name, (mean, scale) in codes.items():
        for kind, values in (("mean", mean), ("scale", scale)):
            if values is not None:
                flat = values.reshape(len(values), -1).numpy()
                columns |= {f"{name}_{kind}_{i}": flat[:, i] for i in range(flat.shape[1])}
    table = frame(columns, index=range(len(given.points)), index_name="id").reset_index()
    table.attrs = dict(about)  # in a Parquet file; the others hold numbers alone
    return table
