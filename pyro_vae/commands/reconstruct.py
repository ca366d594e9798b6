"""pyro-vae reconstruct"""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace

from .. import plots
from ..runs.loading import load_pictured
from ..runs.options import add_picture_options, add_root_option, save_picture
from ..runs.parser import Parser


def add_options(parser: Parser, arguments: Sequence[str]) -> None:
    """Options of this command."""
    add_picture_options(parser, "--num-images", "Test images to reconstruct.")
    add_root_option(parser)


def run(chosen: Namespace) -> None:
    """Reconstruct test images: rows of originals, each with the mean of p(x|z) below, z from the guide."""
    folder, module, images = load_pictured(chosen, chosen.num_images, option="--num-images")
    figure = plots.reconstructions(module.model, module.guide, images, seed=chosen.seed)
    save_picture(figure, folder / "reconstructions.png", out=chosen.out, overwrite=chosen.overwrite)
