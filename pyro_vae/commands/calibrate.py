"""Show where a guide is too narrow, too wide or shifted: ranks of latents that the model draws, among the guide's."""

from __future__ import annotations

from collections.abc import Sequence

from jsonargparse import Namespace

from ..plots.ranks import calibration_figure
from ..runs.environment import few_threads
from ..runs.folder import require_run, title_of
from ..runs.loading import data_of, load_run
from ..runs.options import add_device_option, add_root_option, add_seed_option
from ..runs.parser import Parser
from ..training.device import choose_device
from ..uses.calibration import calibrate
from .pictures import save_result


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    parser.add_argument("run", metavar="RUN", type=str, help="Run folder.")
    add = parser.add_argument
    add("--num-simulated", type=int, default=500, help="Data points to simulate from the model.")
    add("--num-draws", type=int, default=99, help="Draws of the guide for each, among which the latent is ranked.")
    add_root_option(parser)
    add_seed_option(parser, "Seed of the simulated data and of the draws.")
    add_device_option(parser)
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Check the calibration of one run's guide."""
    folder = require_run(chosen.run)
    if chosen.num_simulated < 2:
        raise ValueError(f"Expected --num-simulated of at least 2; got {chosen.num_simulated}.")
    device = choose_device(chosen.device)
    module, _ = load_run(folder, device)
    test = data_of(folder, root=chosen.root).test
    like = test[:1].expand(chosen.num_simulated, *test.shape[1:]).to(device)  # their shape: the values do not count
    with few_threads(module):
        result = calibrate(module.model, module.guide, like, num_draws=chosen.num_draws, seed=chosen.seed)
    protocol = f"{len(like):,} data points simulated from the model (seed {chosen.seed})"
    print(f"{folder}\ndata   {protocol}, where latents are known: real data can differ\n\n{result}\n")
    figure, about = calibration_figure(result, title=title_of(folder)), {"protocol": protocol}
    save_result(folder, "calibration", result, figure, kind="Calibration", about=about, module=module, device=device)
