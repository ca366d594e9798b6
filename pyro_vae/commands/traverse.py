"""pyro-vae traverse"""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace

from .. import plots
from ..runs.loading import load_pictured
from ..runs.options import add_picture_options, add_root_option, save_picture
from ..runs.parser import Parser
from ..uses.generate import most_varied

AT_MOST, CODES = 10, 256  # rows by default, and images among whose codes they vary most


def add_options(parser: Parser, arguments: Sequence[str]) -> None:
    """Options of this command."""
    add_picture_options(parser, "--steps", "Images in a row.", default=9)
    parser.add_argument(
        "--dims",
        type=list[int] | None,
        default=None,
        help="Latent dimensions, [0,3]; by default the ten that vary most.",
    )
    parser.add_argument("--limit", type=float, default=3.0, help="Each goes from minus this to this.")
    add_root_option(parser)


def run(chosen: Namespace) -> None:
    """Traverse latent dimensions: the code of a random test image with one dimension after the other moved."""
    if chosen.steps < 2:
        raise ValueError(f"Expected --steps >= 2; got {chosen.steps}.")
    folder, module, images = load_pictured(chosen, CODES)
    plots.check_images(images.shape)
    dims = chosen.dims or most_varied(module.model, module.guide, images, count=AT_MOST)
    figure = plots.traversals(
        module.model,
        module.guide,
        images[:1],
        dims=dims,
        steps=chosen.steps,
        limit=chosen.limit,
    )
    save_picture(figure, folder / "traversals.png", out=chosen.out, overwrite=chosen.overwrite)
