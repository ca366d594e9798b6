"""Show what a trained model does with its latents: rate, distortion, mutual information, active units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jsonargparse import Namespace

from .. import plots
from ..runs.environment import few_threads
from ..runs.folder import require_run, title_of
from ..runs.loading import data_of, load_run, points_of, random_subset
from ..runs.options import add_device_option, add_root_option, add_seed_option
from ..runs.parser import Parser
from ..training.device import choose_device
from ..uses.diagnostics import diagnose
from .pictures import save_result


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    parser.add_argument("run", metavar="RUN", type=str, help="Run folder.")
    add = parser.add_argument
    add("--num-samples", type=int, default=16, help="Draws of z for each data point.")
    add("--num-images", type=int | None, default=None, help="A seeded random subset of so many data points.")
    text = "Data points that stand for q(z), the aggregate posterior; 0 for none."
    add("--num-pool", type=int, default=1000, help=text)
    add("--split", type=Literal["test", "validation"], default="test", help="Which data points.")
    add_root_option(parser)
    add_seed_option(parser, "Seed of the draws and of the subsets of the data.")
    add_device_option(parser)
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Diagnose one run."""
    folder = require_run(chosen.run)
    dataset = data_of(folder, root=chosen.root)
    device = choose_device(chosen.device)
    module, _ = load_run(folder, device)
    x = points_of(dataset, chosen.split)
    wanted = len(x) if chosen.num_images is None else chosen.num_images
    if not 2 <= wanted <= len(x):
        raise ValueError(f"Expected --num-images from 2 to {len(x):,}; got {wanted}.")
    x = x[random_subset(len(x), wanted, chosen.seed)].to(device)
    how = {name: chosen[name] for name in ("num_samples", "num_pool", "seed")}
    with few_threads(module):
        result = diagnose(module.model, module.guide, x, **how)
    print(f"{folder}\ndata   {dataset.protocol}; {wanted:,} of the {chosen.get('split')} data\n\n{result}\n")
    about = {"protocol": f"{dataset.protocol}; {wanted:,} (seed {chosen.seed}) of the {chosen.get('split')} data"}
    figure = plots.diagnostics_figure(result, title=title_of(folder))
    save_result(folder, "diagnostics", result, figure, kind="diagnostics", about=about, module=module, device=device)
