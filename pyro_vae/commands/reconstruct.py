"""pyro-vae reconstruct"""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace

from .. import plots, runs
from ..generate import reconstruct
from ..loading import choose_device, load_data, load_run, random_subset, read_run
from ..options import Parser, add_picture_options, add_root_option, save_picture


def add_options(parser: Parser, arguments: Sequence[str]) -> None:
    """Options of this command."""
    add_picture_options(parser, "--num-images", "Test images to reconstruct.")
    add_root_option(parser)


def run(chosen: Namespace) -> None:
    """Reconstruct test images: rows of originals, each with the mean of p(x|z) below, z from the guide."""
    folder = runs.require_run(chosen.run)
    dataset = load_data(read_run(folder)[0], root=chosen.root)
    if not 1 <= chosen.num_images <= len(dataset.test):
        raise ValueError(f"Expected --num-images from 1 to {len(dataset.test):,}; got {chosen.num_images}.")
    device = choose_device(chosen.device)
    module, _ = load_run(folder, device)
    images = dataset.test[random_subset(len(dataset.test), chosen.num_images, chosen.seed)].to(device)
    rows = plots.beside(images, reconstruct(module.model, module.guide, images, seed=chosen.seed))
    figure = plots.image_grid(rows, title="originals, reconstructions below")
    save_picture(figure, folder / "reconstructions.png", out=chosen.out, overwrite=chosen.overwrite)
