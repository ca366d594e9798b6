"""Decode a grid over two latent dimensions, at quantiles of the trained prior unless --limit is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from ..plots import images_among, manifold_figure
from ..runs.folder import title_of
from ..runs.parser import Parser
from ..uses.latent_walks import most_varied
from .pictures import CODES, add_picture_options, load_pictured, save


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    add_picture_options(parser, "--side", "Images on each side of the grid.", default=20)
    text = "Latent dimensions, [0,1]; by default the two that vary most."
    parser.add_argument("--dims", type=list[int] | None, default=None, help=text)
    parser.add_argument("--limit", type=float | None, default=None, help="Grid from minus this to this.")
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Decode the grid."""
    module, images = load_pictured(chosen, CODES)
    images_among(images)  # for its error
    pair = module.model, module.guide
    dims = tuple(chosen.dims or sorted(most_varied(*pair, images, count=2)))
    how = {"side": chosen.side, "dims": dims, "limit": chosen.limit, "title": title_of(Path(chosen.run))}
    save(chosen, "manifold.png", lambda: manifold_figure(*pair, images, **how))
