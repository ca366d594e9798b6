"""pyro-vae traverse"""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace

from .. import plots
from ..generate import encode
from ..loading import load_pictured
from ..options import Parser, add_picture_options, add_root_option, save_picture

AT_MOST = 10  # rows by default


def add_options(parser: Parser, arguments: Sequence[str]) -> None:
    """Options of this command."""
    add_picture_options(parser, "--steps", "Images in a row.", default=9)
    parser.add_argument("--dims", type=list[int] | None, default=None, help="Latent dimensions, [0,3]; by default ten.")
    parser.add_argument("--limit", type=float, default=3.0, help="Each goes from minus this to this.")
    add_root_option(parser)


def run(chosen: Namespace) -> None:
    """Traverse latent dimensions: the code of a random test image with one dimension after the other moved."""
    if chosen.steps < 2:
        raise ValueError(f"Expected --steps >= 2; got {chosen.steps}.")
    folder, module, image = load_pictured(chosen, 1)
    plots.check_images(image.shape)
    count = next(iter(encode(module.model, module.guide, image).values())).shape[-1]
    figure = plots.traversals(
        module.model,
        module.guide,
        image,
        dims=list(range(min(count, AT_MOST))) if chosen.dims is None else chosen.dims,
        steps=chosen.steps,
        limit=chosen.limit,
    )
    save_picture(figure, folder / "traversals.png", out=chosen.out, overwrite=chosen.overwrite)
