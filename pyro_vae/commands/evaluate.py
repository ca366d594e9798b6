"""pyro-vae evaluate"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from torch import Tensor

from .. import evidence_plots, plots, runs
from ..bits import bits_of, said_in_bits
from ..data import Data
from ..diagnostics import diagnose
from ..evidence import (
    BidirectionalGap,
    HeavyTail,
    LogMarginal,
    annealed_log_marginal,
    bidirectional,
    log_marginal,
    widened,
)
from ..generate import is_discrete
from ..loading import choose_device, command_line, few_threads, load_data, load_run, random_subset, read_run
from ..options import Parser, add_device_option, add_evaluation_options, add_root_option, add_seed_option, dump
from ..portions import Portions, processes, wait_for_others

# What a run folder's evaluation is called, by estimator; `compare` reads the first.
NAMES = {"importance": "evaluation", "annealed": "evaluation_annealed", "bidirectional": "evaluation_bidirectional"}
IMPORTANCE = ("num_samples", "target_standard_error", "max_samples", "defensive", "widen")
CHAINS = ("num_chains", "num_temperatures", "start", "schedule", "num_leapfrog")
POOL = 1000  # images that the figure of the latent dimensions is made from, at most


def add_options(parser: Parser, arguments: Sequence[str]) -> None:
    """Options of this command."""
    parser.add_argument("runs", metavar="RUN", nargs="+", type=str, help="Run folders.")
    add_evaluation_options(parser)
    add_root_option(parser)
    add_seed_option(parser, "Seed of the samples and of the subset of images.")
    add_device_option(parser)


def run(chosen: Namespace) -> None:
    """Estimate log p(x) of held-out images, for trained runs; also under torchrun, which shares the images out."""
    with processes(choose_device(chosen.device)) as (rank, count):
        for name in chosen.runs:
            folder = runs.require_run(name)
            dataset = load_data(read_run(folder)[0], root=chosen.root)
            if rank == 0:
                print(f"{folder}\ndata   {dataset.protocol}", flush=True)
            result = evaluate_run(folder, chosen, dataset, rank=rank, count=count)
            if result is not None:
                print(_described(result))
                print(said_in_bits(runs.read_json(folder / f"{NAMES[chosen.estimator]}.json")), end="")
                print(f"saved in {folder / NAMES[chosen.estimator]}.json, .npz and .png")


def _described(result: LogMarginal | BidirectionalGap) -> str:
    """The result in words."""
    if isinstance(result, BidirectionalGap):
        return (
            f"on {len(result):,} images simulated from the model, log p(x) lies on average\n"
            f"       above {result.lower.mean:.3f} nats per image (forward chains) and\n"
            f"       below {result.upper.mean:.3f} (reverse chains)\n"
            f"gap    {result.mean_gap:.4f} +- {result.mean_gap_standard_error:.4f} nats: annealed estimates with these "
            f"settings are\n       at most so much too low on average, on images like the model's"
        )
    counts = f"{result.num_samples.double().mean().item():,.0f}"
    lines = [
        f"log p(x) = {result.mean:.3f} nats per image",
        f"       +- {result.mean_standard_error:.3f} standard error over {len(result):,} images",
        f"       +- {result.mean_monte_carlo_error:.3f} Monte Carlo, {counts} samples per image",
        f"       effective sample size from {result.ess.min().item():.1f} to {result.ess.max().item():.1f}, "
        f"median {result.ess.median().item():.1f}",
    ]
    if "acceptance" in result.details:
        acceptance = result.details["acceptance"]
        lines.append(
            f"       acceptance of the transitions from {acceptance.min().item():.2f} to {acceptance.max().item():.2f}"
        )
    if heavy := int(result.unreliable.sum()):
        lines.append(
            f"       not to be trusted for {heavy:,} of {len(result):,} images (k-hat above 0.7): their log p(x) may\n"
            f"       be too low by more than the Monte Carlo error says. Try more --num-samples, --widen 1.1,\n"
            f"       or --estimator annealed"
        )
    return "\n".join(lines)


def _settings(chosen: Namespace) -> dict[str, Any]:
    """All options that the numbers depend on."""
    used = IMPORTANCE if chosen.estimator == "importance" else CHAINS
    return {option: chosen.get(option) for option in ("estimator", "seed", "split", "num_images", *used)}


def finished_evaluation(folder: Path, chosen: Namespace) -> LogMarginal | None:
    """The estimate that a run has already, if it was made with these options."""
    try:
        result, about = runs.load_evaluation(folder)
    except (FileNotFoundError, ValueError):
        return None
    return result if about.get("estimator_settings") == _settings(chosen) else None


def evaluate_run(
    folder: Path, chosen: Namespace, dataset: Data, *, rank: int = 0, count: int = 1
) -> LogMarginal | BidirectionalGap | None:
    """Estimate log p(x) for one run and save it there; None in all processes but the first."""
    device = choose_device(chosen.device)
    module, _ = load_run(folder, device)
    images: Tensor = getattr(dataset, chosen.split)
    subset = "all"
    if chosen.num_images is not None:
        if not 1 <= chosen.num_images <= len(images):
            raise ValueError(f"Expected --num-images from 1 to {len(images):,}; got {chosen.num_images}.")
        images = images[random_subset(len(images), chosen.num_images, chosen.seed)]
        subset = f"a random {chosen.num_images:,} (seed {chosen.seed})"
    images = images.to(device)
    settings = _settings(chosen)
    name = NAMES[chosen.estimator]
    if chosen.estimator == "bidirectional":
        if count > 1:
            raise ValueError("Expected one process for --estimator bidirectional; got torchrun. Run it by itself.")
        with few_threads(module):
            gap = bidirectional(
                module.model, module.guide, images, seed=chosen.seed, progress=True, **{o: chosen[o] for o in CHAINS}
            )
        gap.lower.save(folder / f"{name}_lower")
        gap.upper.save(folder / f"{name}_upper")
        numbers = {"mean_gap": gap.mean_gap, "mean_gap_standard_error": gap.mean_gap_standard_error}
        about = _about(
            module, folder, dataset, chosen, settings, f"{len(gap):,} images simulated from the model", images
        )
        sides = {"lower": gap.lower.to_json(), "upper": gap.upper.to_json()}
        runs.write_json(folder / f"{name}.json", numbers | sides | about | runs.environment(device))
        figure = evidence_plots.gap_figure(gap.lower.log_prob, gap.upper.log_prob, title=folder.name)
        figure.savefig(folder / f"{name}.png", dpi=150)
        return gap

    weights = (folder / "weights.safetensors").read_bytes()
    whose = {"images": runs.digest(images), "weights": hashlib.sha256(weights).hexdigest()}
    portions = Portions(folder / f"{name}.partial", settings | whose, rank=rank)
    if rank == 0:
        portions.clear_others()
    wait_for_others(count)
    kept = portions.finished()
    done = set() if kept is None else set(kept.details["number"].tolist())
    if done and rank == 0:
        print(f"       {len(done):,} of {len(images):,} images are finished already, and kept")
    wait_for_others(count)
    left = [i for i in range(len(images)) if i not in done][rank::count]
    try:
        if left:
            with few_threads(module), warnings.catch_warnings():
                warnings.simplefilter("ignore", HeavyTail)  # said below, in the words of this command
                _estimate(module, images, chosen, left, portions, progress=rank == 0)
    except KeyboardInterrupt:
        portions.flush()
        kept = portions.finished()
        count_kept = 0 if kept is None else len(kept)
        print(f"\nstopped; {count_kept:,} of {len(images):,} images are kept: the same command goes on")
        raise
    portions.flush()
    wait_for_others(count)
    if rank > 0:
        return None
    result = portions.finished()
    assert result is not None
    result = result.without_details("number")
    about = _about(
        module, folder, dataset, chosen, settings, f"evaluated on {subset} of the {chosen.get('split')} images", images
    )
    about |= bits_of(result.log_prob, images, dataset, measure=about["measure"])
    runs.save_evaluation(folder, result, name=name, images=images, about=about | runs.environment(device))
    portions.remove()
    _draw(module, result, images, folder, name)
    return result


def _estimate(
    module: Any, images: Tensor, chosen: Namespace, left: list[int], portions: Portions, *, progress: bool
) -> None:
    if chosen.estimator == "annealed":
        options = {option: chosen[option] for option in CHAINS}
        annealed_log_marginal(
            module.model,
            module.guide,
            images,
            seed=chosen.seed,
            progress=progress,
            only=left,
            on_result=portions.add,
            **options,
        )
        return
    log_marginal(
        module.model,
        module.guide if chosen.widen == 1 else widened(module.guide, chosen.widen),
        images,
        num_samples=chosen.num_samples,
        target_standard_error=chosen.target_standard_error,
        max_samples=chosen.max_samples,
        defensive=chosen.defensive,
        memory_budget=chosen.memory_budget,
        chunk_size=chosen.chunk_size,
        seed=chosen.seed,
        progress=progress,
        only=left,
        on_result=portions.add,
    )


def _about(
    module: Any, folder: Path, dataset: Data, chosen: Namespace, settings: dict[str, Any], which: str, images: Tensor
) -> dict[str, Any]:
    """What a result is about: estimator, data protocol, model, training."""
    config, trained = read_run(folder)
    metrics = runs.read_metrics(folder)
    said = {
        "importance": "importance sampling from the guide",
        "annealed": f"annealed importance sampling from the {chosen.start}",
        "bidirectional": f"annealed chains in both directions, between the {chosen.start} and the posterior",
    }
    return {
        "estimator": said[chosen.estimator],
        "estimator_settings": settings,
        "protocol": f"{dataset.protocol}; {which}",
        "likelihood": repr(getattr(module, "likelihood", None) or f"that of {type(module).__name__}").strip("'"),
        "measure": "probability" if is_discrete(module.model, images[:1]) else "density",
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


def _draw(module: Any, result: LogMarginal, images: Tensor, folder: Path, name: str) -> None:
    """The figures of an evaluation."""
    title, images = folder.name, images.cpu()
    plots.log_marginal_histogram(result, title=title).savefig(folder / f"{name}.png", dpi=150)
    if len(result.convergence()) > 1 and name == "evaluation":
        evidence_plots.convergence_figure(result, title=title).savefig(folder / f"{name}_convergence.png", dpi=150)
    if result.khat.isfinite().any():
        evidence_plots.khat_figure(result, images, title=title).savefig(folder / f"{name}_khat.png", dpi=150)
    if name == "evaluation" and len(images) > 1:
        try:
            device = next((p.device for p in module.parameters()), torch.device("cpu"))
            found = diagnose(module.model, module.guide, images[:POOL].to(device), num_pool=0)
        except ValueError:  # a guide or prior without what the figure shows; `pyro-vae diagnose` says why
            return
        plots.diagnostics_figure(found, title=title).savefig(folder / f"{name}_dimensions.png", dpi=150)
