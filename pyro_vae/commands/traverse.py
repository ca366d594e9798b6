"""Move the code of a random test image along one latent dimension after the other, or images along that of a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jsonargparse import Namespace
from matplotlib.figure import Figure
from torch import Tensor

from ..pairs.batch import Points
from ..plots import attribute_walks, images_among, traversals
from ..runs.folder import title_of
from ..runs.given_data import given_data
from ..runs.parser import Parser
from ..uses.directions import attribute_direction
from ..uses.latent_walks import most_varied
from .pictures import CODES, add_picture_options, load_pictured, save

ROWS = 8  # test images that are moved along a direction
FARTHEST = 2.0  # lengths of it


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    add_picture_options(parser, "--steps", "Images in a row.", default=9)
    text = "Latent dimensions, [0,3]; by default the ten that vary most."
    parser.add_argument("--dims", type=list[int] | None, default=None, help=text)
    text = "Each goes from minus this to this, by default 3; along a direction from 0 to this, by default 2."
    parser.add_argument("--limit", type=float | None, default=None, help=text)
    text = "Instead, move test images toward a class: along the mean code of its training data less that of all others."
    parser.add_argument("--toward", type=str | None, metavar="LABEL", default=None, help=text)
    text = "Class whose mean code is taken off, and whose images are moved; with --toward. Both by number or name."
    parser.add_argument("--away", type=str | None, metavar="LABEL", default=None, help=text)
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Traverse latent dimensions."""
    if chosen.steps < 2:
        raise ValueError(f"Expected --steps >= 2; got {chosen.steps}.")
    if chosen.away is not None and (chosen.toward is None or chosen.toward == chosen.away):
        raise ValueError(f"Expected --away with another class given by --toward; got {chosen.toward}.")
    if chosen.toward is not None and chosen.dims is not None:
        raise ValueError("Expected --dims or --toward; got both.")
    module, images = load_pictured(chosen, CODES)
    images_among(images)  # for its error
    if chosen.toward is not None:
        save(chosen, "traversals.png", lambda: _toward(chosen, module))
        return
    pair = module.model, module.guide
    dims = chosen.dims or most_varied(*pair, images, count=10)
    limit = 3.0 if chosen.limit is None else chosen.limit
    how = {"dims": dims, "steps": chosen.steps, "limit": limit, "title": title_of(Path(chosen.run))}
    save(chosen, "traversals.png", lambda: traversals(*pair, images[:1], **how))


def _toward(chosen: Namespace, module: Any) -> Figure:
    """Test images, moved toward a class and away from another, or from all others."""
    folder = Path(chosen.run)
    train, test = (given_data(folder, None, part, root=chosen.root) for part in ("train", "test"))
    wanted = [label for label in (chosen.toward, chosen.away) if label is not None]
    labels, before = train.labels_among(wanted), test.labels_among(wanted)

    def is_in(label: str, named: np.ndarray) -> Tensor:
        return torch.from_numpy(named == label)

    limit = FARTHEST if chosen.limit is None else chosen.limit
    if not limit > 0:
        raise ValueError(f"Expected --limit > 0; got {limit:g}.")
    device = next(iter(module.parameters())).device
    pair, points = (module.model, module.guide), train.points.to(device)
    lacks = None if chosen.away is None else is_in(chosen.away, labels)
    direction = attribute_direction(*pair, points, is_in(chosen.toward, labels), lacks=lacks)
    moved = ~is_in(chosen.toward, before) if chosen.away is None else is_in(chosen.away, before)
    rows: Points = test.points[moved.nonzero()[:ROWS, 0]].to(device)
    amounts = torch.linspace(0, limit, chosen.steps)
    what = f"from {'the others' if chosen.away is None else f'class {chosen.away}'} to class {chosen.toward}"
    return attribute_walks(*pair, rows, direction, amounts=amounts, what=what, title=title_of(folder))
