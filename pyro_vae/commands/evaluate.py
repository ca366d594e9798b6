"""pyro-vae evaluate"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace
from torch import Tensor

from .. import plots, runs
from ..data import Data
from ..evidence import LogMarginal, log_marginal
from ..generate import is_discrete
from ..loading import choose_device, command_line, few_threads, load_data, load_run, random_subset, read_run
from ..options import Parser, add_device_option, add_evaluation_options, add_root_option, add_seed_option, dump


def add_options(parser: Parser, arguments: Sequence[str]) -> None:
    """Options of this command."""
    parser.add_argument("runs", metavar="RUN", nargs="+", type=str, help="Run folders.")
    add_evaluation_options(parser)
    add_root_option(parser)
    add_seed_option(parser, "Seed of the samples and of the subset of images.")
    add_device_option(parser)


def run(chosen: Namespace) -> None:
    """Estimate log p(x) of held-out images by importance sampling, for trained runs."""
    for name in chosen.runs:
        folder = runs.require_run(name)
        config, _ = read_run(folder)
        dataset = load_data(config, root=chosen.root)
        print(f"{folder}\ndata   {dataset.protocol}")
        result = evaluate_run(folder, chosen, dataset)
        print(
            f"log p(x) = {result.mean:.3f} nats per image\n"
            f"       +- {result.mean_standard_error:.3f} standard error over {len(result):,} images\n"
            f"       +- {result.mean_monte_carlo_error:.3f} Monte Carlo, {chosen.num_samples:,} samples per image\n"
            f"       effective sample size from {result.ess.min().item():.1f} to {result.ess.max().item():.1f}, "
            f"median {result.ess.median().item():.1f}"
        )
        if few := int((result.ess < 10).sum()):
            print(
                f"       below 10 for {few:,} of {len(result):,} images: their log p(x) may be too low by more "
                f"than the Monte Carlo error says; see how it moves with more --num-samples"
            )
        print(f"saved in {folder / 'evaluation.json'}")


def _options(chosen: Namespace) -> dict[str, int | str | None]:
    return {name: chosen.get(name) for name in ("num_samples", "num_images", "split", "seed")}


def finished_evaluation(folder: Path, chosen: Namespace) -> LogMarginal | None:
    """The estimate that a run has already, if it was made with these options."""
    try:
        result, about = runs.load_evaluation(folder)
    except (FileNotFoundError, ValueError):
        return None
    return result if about.get("options") == _options(chosen) else None


def evaluate_run(folder: Path, chosen: Namespace, dataset: Data) -> LogMarginal:
    """Estimate log p(x) for one run and save it there."""
    device = choose_device(chosen.device)
    module, _ = load_run(folder, device)
    images: Tensor = getattr(dataset, chosen.split)
    subset = "all"
    if chosen.num_images is not None:
        if not 1 <= chosen.num_images <= len(images):
            raise ValueError(f"Expected --num-images from 1 to {len(images):,}; got {chosen.num_images}.")
        images = images[random_subset(len(images), chosen.num_images, chosen.seed)]
        subset = f"a random {chosen.num_images:,} (seed {chosen.seed})"
    with few_threads(module):
        result = log_marginal(
            module.model,
            module.guide,
            images.to(device),
            num_samples=chosen.num_samples,
            chunk_size=chosen.chunk_size,
            seed=chosen.seed,
            progress=True,
        )
    config, trained = read_run(folder)
    metrics = runs.read_metrics(folder)
    described = {
        "options": _options(chosen),
        "estimator": "importance sampling from the guide",
        "protocol": f"{dataset.protocol}; evaluated on {subset} of the {chosen.get('split')} images",
        "likelihood": repr(getattr(module, "likelihood", None) or f"that of {type(module).__name__}").strip("'"),
        "measure": "probability" if is_discrete(module.model, images[:1].to(device)) else "density",
        "settings": dump(config),
        "training": {
            "command": trained["command"],
            "epochs": len(metrics),
            "seconds": round(sum(line["seconds"] for line in metrics), 1),
            "device": trained["device"],
            "threads": trained["threads"],
        },
        "command": command_line(),
    }
    runs.save_evaluation(folder, result, images=images, about=described | runs.environment(device))
    plots.log_marginal_histogram(result, title=folder.name).savefig(folder / "log_marginal.png", dpi=150)
    return result
