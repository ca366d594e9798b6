"""pyro-vae interpolate"""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace

from .. import plots
from ..runs.loading import load_pictured
from ..runs.options import add_picture_options, add_root_option, save_picture
from ..runs.parser import Parser
from ..uses import generate


def add_options(parser: Parser, arguments: Sequence[str]) -> None:
    """Options of this command."""
    add_picture_options(parser, "--num-rows", "Pairs of test images, a row for each.", default=8)
    parser.add_argument("--steps", type=int, default=10, help="Images in a row.")
    parser.add_argument("--path", type=generate.Way, default="linear", help="A straight line, or along the sphere.")
    add_root_option(parser)


def run(chosen: Namespace) -> None:
    """Interpolate between the codes of random test images."""
    folder, module, images = load_pictured(chosen, chosen.num_rows, option="--num-rows", each=2)
    start, end = images.chunk(2)
    figure = plots.interpolations(module.model, module.guide, start, end, steps=chosen.steps, path=chosen.path)
    save_picture(figure, folder / f"interpolations_{chosen.path}.png", out=chosen.out, overwrite=chosen.overwrite)
