"""Write the codes of data points as arrays: the mean of q(z|x) at each latent site, with labels where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jsonargparse import Namespace

from ..runs.folder import require_run
from ..runs.loading import data_of, load_run, points_of
from ..runs.options import add_root_option, add_run_options
from ..runs.parser import Parser
from ..training.device import choose_device
from ..uses.generate import encode
from .pictures import save

TOGETHER = 1000  # data points


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    parser.add_argument("run", metavar="RUN", type=str, help="Run folder.")
    parser.add_argument("--split", type=Literal["train", "validation", "test"], default="test", help="Which data.")
    add_run_options(parser, out="A .npz file, or a .npy file for the first latent site; by default in the run folder.")
    add_root_option(parser)
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Encode a split."""
    folder, device = require_run(chosen.run), choose_device(chosen.device)
    data = data_of(folder, root=chosen.root)
    module, _ = load_run(folder, device)
    parts = [
        encode(module.model, module.guide, x.to(device), seed=chosen.seed)
        for x in points_of(data, chosen.split).split(TOGETHER)
    ]
    codes = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    labels = {} if data.labels is None else {"labels": getattr(data.labels, chosen.split)}
    save(chosen, "codes.npz", None, lambda: codes | labels)
