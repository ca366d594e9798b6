"""What the command line says, draws and asks for of an estimate of log p(x)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from docstring_parser import parse as parse_docstring

from .. import plots
from ..disk.writing import save_figure
from ..evidence import BidirectionalGap, LogMarginal
from ..pairs.batch import Points
from ..plots import evidence as evidence_plots
from ..runs.estimators import ESTIMATORS
from ..runs.folder import title_of
from ..runs.parser import Parser
from ..uses.diagnostics import diagnose

POOL = 1000  # data points that the figure of the latent dimensions is made from, at most


def say(result: LogMarginal | BidirectionalGap) -> str:
    """A result in words."""
    return say_estimate(result) if isinstance(result, LogMarginal) else say_gap(result)


def say_estimate(result: LogMarginal) -> str:
    """Estimates of log p(x) in words."""
    annealed = "acceptance" in result.details
    ess = result.ess.nan_to_num(0.0)  # of a data point without a finite weight
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


def draw(module: Any, result: LogMarginal | BidirectionalGap, x: Points, path: Path) -> None:
    """The figures of a result, in files whose names begin with the path."""
    title, x = title_of(path.parent), x.cpu()
    if isinstance(result, BidirectionalGap):
        figure = evidence_plots.gap_figure(result.lower.log_prob, result.upper.log_prob, title=title)
        save_figure(figure, Path(f"{path}.png"))
        return
    save_figure(plots.log_marginal_histogram(result, title=title), Path(f"{path}.png"))
    if result.khat.isfinite().any():
        save_figure(evidence_plots.khat_figure(result, plots.drawable_among(x), title=title), Path(f"{path}_khat.png"))
    if "acceptance" in result.details:  # chains, which leave the guide behind
        return
    if len(result.convergence()) > 1:
        save_figure(evidence_plots.convergence_figure(result, title=title), Path(f"{path}_convergence.png"))
    if len(x) > 1:
        try:
            found = diagnose(module.model, module.guide, x[:POOL], num_pool=0)
        except ValueError:  # a guide or prior without what the figure shows; `pyro-vae diagnose` says why
            return
        save_figure(plots.diagnostics_figure(found, title=title), Path(f"{path}_dimensions.png"))


def add_evaluation_options(parser: Parser, arguments: Sequence[str], *, without: Sequence[str] = ()) -> None:
    """Options of an estimate of log p(x); those of the estimator depend on the arguments, which name it.

    Raises:
        ValueError: the arguments have an option of another estimator.
    """
    add = parser.add_argument_group("log p(x)").add_argument
    add(
        "--estimator",
        type=Literal[*ESTIMATORS],
        default="auto",
        help="Importance sampling from the guide, or where that does not do from Gaussians fitted to a data point; "
        "importance sampling from the guide alone; annealed importance sampling; or annealed chains both ways on data "
        "simulated from the model, which say how far the annealed estimate can be trusted.",
    )
    add("--num-images", type=int | None, default=None, help="A seeded random subset of so many data points.")
    add("--split", type=Literal["test", "validation"], default="test", help="Which data points.")
    add("--widen", type=float, default=1.0, help="Factor of the scales of the guide's latents.")
    flags = {each.name: [_flag(key) for key in each.options if key not in without] for each in ESTIMATORS.values()}
    name = _named(arguments)
    if name not in ESTIMATORS:  # the parser says so
        return
    for word in (word.partition("=")[0] for word in arguments):
        others = [other for other, theirs in flags.items() if word in theirs]
        if others and word not in flags[name]:
            raise ValueError(
                f"Expected an option of --estimator {name}, {', '.join(flags[name])}; got {word}, which belongs to "
                f"--estimator {' or '.join(others)}."
            )
    summary = parse_docstring(inspect.getdoc(ESTIMATORS[name].function) or "").short_description
    group = parser.add_argument_group(f"--estimator {name}", f"{summary} Each estimator has options of its own.")
    for key, (kind, default, text) in ESTIMATORS[name].options.items():
        if key not in without:
            given = {"required": True} if default is inspect.Parameter.empty else {"default": default}
            group.add_argument(_flag(key), type=kind, help=text.replace("%", "%%"), **given)


def _named(arguments: Sequence[str]) -> str:
    """The estimator that a command line names."""
    name = "auto"
    for word, following in zip(arguments, [*arguments[1:], ""], strict=False):
        option, equals, value = word.partition("=")
        if option == "--estimator":
            name = value if equals else following
    return name


def _flag(argument: str) -> str:
    return f"--{argument.replace('_', '-')}"
