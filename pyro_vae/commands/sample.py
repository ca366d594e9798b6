"""pyro-vae sample"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jsonargparse import Namespace

from .. import plots
from ..runs.folder import require_run
from ..runs.loading import choose_device, load_run
from ..runs.options import add_picture_options, save_picture
from ..runs.parser import Parser


def add_options(parser: Parser, arguments: Sequence[str]) -> None:
    """Options of this command."""
    add_picture_options(parser, "--num-samples", "Images to draw.")


def run(chosen: Namespace) -> None:
    """Draw images from a trained model: means of p(x|z) for z from the prior."""
    folder = require_run(chosen.run)
    if chosen.num_samples < 1:
        raise ValueError(f"Expected --num-samples >= 1; got {chosen.num_samples}.")
    device = choose_device(chosen.device)
    module, about = load_run(folder, device)
    like = torch.zeros(chosen.num_samples, *about["event_shape"], device=device)
    figure = plots.samples(module.model, like, seed=chosen.seed)
    save_picture(figure, folder / "samples.png", out=chosen.out, overwrite=chosen.overwrite)
