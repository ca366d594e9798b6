"""Trace how many nats a decoder needs to reconstruct data so well, by annealed chains: its rate-distortion curve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from jsonargparse import Namespace
from torch import Tensor

from ..evidence import rate_distortion
from ..plots.evidence import rate_distortion_figure
from ..runs.environment import few_threads
from ..runs.folder import require_run, title_of
from ..runs.loading import data_of, load_run, random_subset
from ..runs.options import add_device_option, add_root_option, add_seed_option
from ..runs.parser import Parser
from ..training.device import choose_device
from .pictures import save_result


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    parser.add_argument("run", metavar="RUN", type=str, help="Run folder.")
    add = parser.add_argument
    add("--num-images", type=int, default=50, help="Data points: a seeded random subset, or so many simulated ones.")
    add("--split", type=Literal["test", "validation"], default="test", help="Which data points.")
    text = "Simulate the data from the model: then the curve is bounded from below, too, which it is not for real data."
    add("--simulate", action="store_true", help=text)
    add("--largest-beta", type=float, default=4.0, help="Power of the likelihood where the chains end.")
    add("--num-chains", type=int, default=16, help="Chains for each data point.")
    add("--num-temperatures", type=int, default=200, help="Steps from the prior to the largest beta.")
    add_root_option(parser)
    add_seed_option(parser, "Seed of the chains and of the subset of the data.")
    add_device_option(parser)
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Trace the curve of one run."""
    folder = require_run(chosen.run)
    dataset = data_of(folder, root=chosen.root)
    device = choose_device(chosen.device)
    module, _ = load_run(folder, device)
    x: Tensor = getattr(dataset, chosen.split)
    if not 1 <= chosen.num_images <= len(x):
        raise ValueError(f"Expected --num-images from 1 to {len(x):,}; got {chosen.num_images}.")
    x = x[random_subset(len(x), chosen.num_images, chosen.seed)].to(device)
    settings = {name: chosen[name] for name in ("largest_beta", "num_chains", "num_temperatures", "seed", "simulate")}
    with few_threads(module):
        result = rate_distortion(module.model, module.guide, x, **settings, progress=True)
    which = f"a random {len(x):,} (seed {chosen.seed}) of the {chosen.split} data"
    if chosen.simulate:
        which = f"{len(x):,} data points simulated from the model (seed {chosen.seed})"
    print(f"{folder}\ndata   {dataset.protocol}; {which}\n\n{result}\n")
    about = {"protocol": f"{dataset.protocol}; {which}", "settings": settings}
    figure = rate_distortion_figure(result, title=title_of(folder))
    save_result(folder, "rate_distortion", result, figure, kind="curve", about=about, module=module, device=device)
