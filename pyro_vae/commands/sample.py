"""Draw images from a trained model, means of p(x|z) for z from the prior; or data as arrays, to a .npz file."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace
from torch import Tensor

from ..plots import samples
from ..runs.folder import require_run, title_of
from ..runs.loading import load_run
from ..runs.parser import Parser
from ..training.device import choose_device
from ..uses.generate import sample
from .pictures import add_picture_options, by_site, like_of, save


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    add_picture_options(
        parser, "--num-samples", "Data points to draw, with the other inputs of test data.", arrays=True
    )
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Draw data points."""
    if chosen.num_samples < 1:
        raise ValueError(f"Expected --num-samples >= 1; got {chosen.num_samples}.")
    device, folder = choose_device(chosen.device), require_run(chosen.run)
    module, _ = load_run(folder, device)
    like = like_of(folder, chosen.num_samples, seed=chosen.seed, root=chosen.root).to(device)

    def arrays() -> dict[str, Tensor]:
        draws, means = sample(module.model, like, seed=chosen.seed)
        return by_site("draws", draws) | by_site("means", means)

    save(chosen, "samples.png", lambda: samples(module.model, like, seed=chosen.seed, title=title_of(folder)), arrays)
