"""What the command line says, draws and keeps of each estimator of log p(x)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .. import plots
from ..disk.writing import save_figure
from ..evidence import BidirectionalGap, LogMarginal, annealed_log_marginal, bidirectional, log_marginal
from ..evidence.importance import NAMES
from ..pairs.batch import Points
from ..plots import evidence as evidence_plots
from ..runs.parser import Parser
from ..uses.diagnostics import diagnose

POOL = 1000  # images that the figure of the latent dimensions is made from, at most


def say_estimate(result: LogMarginal) -> str:
    """Estimates of log p(x) in words."""
    annealed = "acceptance" in result.details
    ess = result.ess.nan_to_num(0.0)  # of an image without a finite weight
    counts = f"{result.num_samples.double().mean().item():,.0f} {'chains' if annealed else 'samples'}"
    mean = result.mean
    lines = [
        f"log p(x) = {mean.value:.3f} nats per data point",
        f"       +- {mean.standard_error:.3f} standard error over {len(result):,} data points",
        f"       +- {mean.monte_carlo_error:.3f} Monte Carlo, {counts} each",
        f"       effective sample size from {ess.min().item():.1f} to {ess.max().item():.1f}, "
        f"median {ess.median().item():.1f}",
    ]
    if annealed:
        acceptance = result.details["acceptance"]
        lines.append(
            f"       acceptance of the transitions from {acceptance.min().item():.2f} to {acceptance.max().item():.2f}"
        )
    if "rung" in result.details:
        fitted, cost = int((result.details["rung"] > 0).sum()), result.details["evaluations"].double().mean().item()
        lines.append(
            f"       proposals: the guide for {len(result) - fitted:,} data points, fitted Gaussians beside it for "
            f"{fitted:,};\n       {cost:,.0f} evaluations of the model each"
        )
    if heavy := int(result.unreliable.sum()):
        why = "k-hat above 0.7, or chains that hardly moved" if annealed else "k-hat above 0.7"
        cure = "more --num-temperatures or --num-chains" if annealed else "--estimator annealed"
        if not annealed and "rung" not in result.details:
            cure = "--estimator auto"
        lines.append(
            f"       not to be trusted for {heavy:,} of {len(result):,} data points ({why}): their log p(x)\n"
            f"       may be too low by more than the Monte Carlo error says. Try {cure}"
        )
    return "\n".join(lines)


def say_gap(gap: BidirectionalGap) -> str:
    """Bounds from both sides in words."""
    mean = gap.mean_gap
    return (
        f"on {len(gap):,} data points simulated from the model, log p(x) lies on average\n"
        f"       above {gap.lower.mean.value:.3f} nats per data point (forward chains) and\n"
        f"       below {gap.upper.mean.value:.3f} (reverse chains)\n"
        f"gap    {mean.value:.4f} +- {mean.standard_error:.4f} nats per data point: in expectation, annealed "
        f"estimates with\n       these settings are too low by at most that, on data like the model's"
    )


def draw_estimate(module: Any, result: LogMarginal, images: Points, path: Path) -> None:
    """Figures of estimates of log p(x)."""
    title, drawn = path.parent.name, plots.images_among(images).cpu()
    save_figure(plots.log_marginal_histogram(result, title=title), Path(f"{path}.png"))
    if result.khat.isfinite().any():
        save_figure(evidence_plots.khat_figure(result, drawn, title=title), Path(f"{path}_khat.png"))


def draw_importance(module: Any, result: LogMarginal, images: Points, path: Path) -> None:
    """Figures of importance sampling, which `diagnose` has most to do with."""
    draw_estimate(module, result, images, path)
    title = path.parent.name
    if len(result.convergence()) > 1:
        save_figure(evidence_plots.convergence_figure(result, title=title), Path(f"{path}_convergence.png"))
    if len(images) > 1:
        try:
            found = diagnose(module.model, module.guide, images[:POOL], num_pool=0)
        except ValueError:  # a guide or prior without what the figure shows; `pyro-vae diagnose` says why
            return
        save_figure(plots.diagnostics_figure(found, title=title), Path(f"{path}_dimensions.png"))


def draw_gap(module: Any, gap: BidirectionalGap, images: Points, path: Path) -> None:
    """The figure of bounds from both sides."""
    figure = evidence_plots.gap_figure(gap.lower.log_prob, gap.upper.log_prob, title=path.parent.name)
    save_figure(figure, Path(f"{path}.png"))


@dataclass(frozen=True)
class Estimator:
    """What one estimator of log p(x) has that the others have not.

    Attributes:
        estimate: the function.
        kind: of its result.
        options: those that the numbers depend on.
        name: of the files in the run folder.
        about: it, in words; {start} stands for the option.
        say: its result in words.
        draw: its figures, from module, result, images and path.
    """

    estimate: Callable[..., Any]
    kind: type[LogMarginal] | type[BidirectionalGap]
    options: tuple[str, ...]
    name: str
    about: str
    say: Callable[[Any], str]
    draw: Callable[[Any, Any, Points, Path], None]


# Options that the numbers depend on: type, default, help. --precision stands with the commands, which differ in it.
SAMPLES: dict[str, tuple[Any, Any, str]] = {
    "num_samples": (int, 1000, "Importance samples for each image."),
    "target_standard_error": (
        float | None,
        None,
        "Nats: draw as many samples as each image needs for this error, with --num-samples to begin with.",
    ),
    "max_samples": (int, 100_000, "Most samples of an image for that."),
    "widen": (float, 1.0, "Factor of the scales of the guide's latents."),
    "defensive": (float, 0.0, "Share of the samples from the prior."),
}
CHAINS: dict[str, tuple[Any, Any, str]] = {
    "num_chains": (int, 32, "Chains for each image."),
    "num_temperatures": (int, 300, "Steps from the start to the posterior."),
    "start": (Literal["guide", "prior"], "guide", "Where chains start."),
    "schedule": (Literal["sigmoid", "adaptive"], "sigmoid", "Of the temperatures."),
    "num_leapfrog": (int, 5, "Leapfrog steps of a transition."),
    "num_warmup_chains": (int, 4, "Chains for each image that step sizes are adapted on."),
    "target_acceptance": (float, 0.9, "Share of transitions to accept, for the step sizes."),
}
ESTIMATORS = {
    "auto": Estimator(
        log_marginal,
        LogMarginal,
        tuple(SAMPLES),
        "evaluation",
        NAMES["auto"],
        say_estimate,
        draw_importance,
    ),
    "importance": Estimator(
        functools.partial(log_marginal, estimator="guide"),
        LogMarginal,
        (*SAMPLES, "precision"),
        "evaluation_importance",
        NAMES["guide"],
        say_estimate,
        draw_importance,
    ),
    "annealed": Estimator(
        annealed_log_marginal,
        LogMarginal,
        tuple(CHAINS),
        "evaluation_annealed",
        "annealed importance sampling from the {start}",
        say_estimate,
        draw_estimate,
    ),
    "bidirectional": Estimator(
        bidirectional,
        BidirectionalGap,
        tuple(CHAINS),
        "evaluation_bidirectional",
        "annealed chains in both directions, between the {start} and the posterior",
        say_gap,
        draw_gap,
    ),
}


def add_evaluation_options(parser: Parser) -> None:
    """Options of an estimate of log p(x)."""
    add = parser.add_argument_group("log p(x)").add_argument
    add(
        "--estimator",
        type=Literal[*ESTIMATORS],
        default="auto",
        help="Importance sampling from the guide, or where that does not do from Gaussians fitted to a data point; "
        "importance sampling from the guide alone; annealed importance sampling; or annealed chains both ways on data "
        "simulated from the model, which say how far the annealed estimate can be trusted.",
    )
    add("--num-images", type=int | None, default=None, help="A seeded random subset of so many images.")
    add("--split", type=Literal["test", "validation"], default="test", help="Which images.")
    text = "Most (image, sample or chain) pairs at once; by default what --memory-budget allows, or 4,096 chains."
    add("--chunk-size", type=int | None, default=None, help=text)
    for title, options in (("importance sampling", SAMPLES), ("annealed and bidirectional", CHAINS)):
        group = parser.add_argument_group(title)
        for name, (kind, default, text) in options.items():
            group.add_argument(f"--{name.replace('_', '-')}", type=kind, default=default, help=text)
    text = "Bytes for the tensors of importance sampling, such as 500MB."
    parser.add_argument("--memory-budget", type=str, default="1GiB", help=text)
