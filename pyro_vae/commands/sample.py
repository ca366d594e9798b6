"""Draw images from a trained model: means of p(x|z) for z from the prior, with the other inputs of test images."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace

from ..plots import samples
from ..runs.folder import require_run
from ..runs.loading import load_run
from ..runs.parser import Parser
from ..training.device import choose_device
from .pictures import add_picture_options, like_of, save


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    add_picture_options(parser, "--num-samples", "Images to draw.")
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Draw images."""
    if chosen.num_samples < 1:
        raise ValueError(f"Expected --num-samples >= 1; got {chosen.num_samples}.")
    device = choose_device(chosen.device)
    folder = require_run(chosen.run)
    module, _ = load_run(folder, device)
    like = like_of(folder, chosen.num_samples, seed=chosen.seed, root=chosen.root).to(device)
    save(samples(module.model, like, seed=chosen.seed), chosen, "samples.png")
