"""Reconstruct test images: rows of originals, each with the mean of p(x|z) below, z from the guide."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace

from ..plots import reconstructions
from ..runs.parser import Parser
from .pictures import add_picture_options, load_pictured, save


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    add_picture_options(parser, "--num-images", "Test images to reconstruct.")
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Reconstruct images."""
    module, images = load_pictured(chosen, chosen.num_images, option="--num-images")
    save(reconstructions(module.model, module.guide, images, seed=chosen.seed), chosen, "reconstructions.png")
