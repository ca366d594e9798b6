"""Interpolate between the codes of random test images."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from ..plots import interpolations
from ..runs.folder import title_of
from ..runs.parser import Parser
from ..uses.latent_walks import Way
from .pictures import add_picture_options, load_pictured, save


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    add_picture_options(parser, "--num-rows", "Pairs of test images, a row each; by default 8, or all.", default=None)
    parser.add_argument("--steps", type=int, default=10, help="Images in a row.")
    parser.add_argument("--path", type=Way, default="linear", help="A straight line, or along the sphere.")
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Interpolate between images."""
    module, images = load_pictured(chosen, chosen.num_rows, option="--num-rows", usual=8, each=2)
    start, end = images.split(len(images) // 2)
    how = {"steps": chosen.steps, "path": chosen.path, "title": title_of(Path(chosen.run))}
    draw = functools.partial(interpolations, module.model, module.guide, start, end, **how)
    save(chosen, f"interpolations_{chosen.path}.png", draw)
