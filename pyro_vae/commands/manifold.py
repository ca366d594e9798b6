"""pyro-vae manifold"""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace

from .. import plots
from ..runs.loading import load_pictured
from ..runs.options import add_picture_options, add_root_option, save_picture
from ..runs.parser import Parser
from ..uses.generate import most_varied

CODES = 256  # test images: which dimensions vary most, and the mean code for all others


def add_options(parser: Parser, arguments: Sequence[str]) -> None:
    """Options of this command."""
    add_picture_options(parser, "--side", "Images on each side of the grid.", default=20)
    parser.add_argument(
        "--dims",
        type=list[int] | None,
        default=None,
        help="Latent dimensions, [0,1]; by default the two that vary most.",
    )
    parser.add_argument("--limit", type=float | None, default=None, help="Grid from minus this to this.")
    add_root_option(parser)


def run(chosen: Namespace) -> None:
    """Decode a grid over two latent dimensions, at quantiles of the standard normal unless --limit is given."""
    folder, module, images = load_pictured(chosen, CODES)
    plots.check_images(images.shape)
    dims = chosen.dims or sorted(most_varied(module.model, module.guide, images, count=2))
    figure = plots.manifold_figure(
        module.model, module.guide, images, side=chosen.side, dims=tuple(dims), limit=chosen.limit
    )
    save_picture(figure, folder / "manifold.png", out=chosen.out, overwrite=chosen.overwrite)
