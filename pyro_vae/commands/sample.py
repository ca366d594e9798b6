"""Draw images from a trained model: means of p(x|z) for z from the prior."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jsonargparse import Namespace

from ..plots import samples
from ..runs.folder import require_run
from ..runs.loading import load_run
from ..runs.parser import Parser
from ..training.device import choose_device
from .pictures import add_picture_options, save


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    add_picture_options(parser, "--num-samples", "Images to draw.", data=False)
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Draw images."""
    if chosen.num_samples < 1:
        raise ValueError(f"Expected --num-samples >= 1; got {chosen.num_samples}.")
    device = choose_device(chosen.device)
    module, about = load_run(require_run(chosen.run), device)
    like = torch.zeros(chosen.num_samples, *about["event_shape"], device=device)
    save(samples(module.model, like, seed=chosen.seed), chosen, "samples.png")
