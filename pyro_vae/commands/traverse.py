"""Traverse latent dimensions: the code of a random test image with one dimension after the other moved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from ..plots import images_among, traversals
from ..runs.folder import title_of
from ..runs.parser import Parser
from ..uses.latent_walks import most_varied
from .pictures import CODES, add_picture_options, load_pictured, save


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    add_picture_options(parser, "--steps", "Images in a row.", default=9)
    text = "Latent dimensions, [0,3]; by default the ten that vary most."
    parser.add_argument("--dims", type=list[int] | None, default=None, help=text)
    parser.add_argument("--limit", type=float, default=3.0, help="Each goes from minus this to this.")
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Traverse latent dimensions."""
    if chosen.steps < 2:
        raise ValueError(f"Expected --steps >= 2; got {chosen.steps}.")
    module, images = load_pictured(chosen, CODES)
    images_among(images)  # for its error
    pair = module.model, module.guide
    dims = chosen.dims or most_varied(*pair, images, count=10)
    how = {"dims": dims, "steps": chosen.steps, "limit": chosen.limit, "title": title_of(Path(chosen.run))}
    save(chosen, "traversals.png", lambda: traversals(*pair, images[:1], **how))
