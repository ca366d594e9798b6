"""Reconstruct test images, rows of originals above means of p(x|z) for z from the guide; or as arrays, to .npz."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace
from torch import Tensor

from ..pairs.batch import Batch
from ..plots import reconstructions
from ..runs.folder import title_of
from ..runs.parser import Parser
from ..uses.generate import reconstruct
from .pictures import add_picture_options, by_site, load_pictured, save


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    add_picture_options(parser, "--num-images", "Test data points; by default 64, or all.", default=None, arrays=True)
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Reconstruct data points."""
    module, x = load_pictured(chosen, chosen.num_images, option="--num-images")
    pair, title = (module.model, module.guide), title_of(Path(chosen.run))

    originals = {name: entry for name, entry in x.named() if entry is not None} if isinstance(x, Batch) else x

    def arrays() -> dict[str, Tensor]:
        return by_site("reconstructions", reconstruct(*pair, x, seed=chosen.seed)) | by_site("originals", originals)

    save(chosen, "reconstructions.png", lambda: reconstructions(*pair, x, seed=chosen.seed, title=title), arrays)
