"""What the command line says, draws and asks for of an estimate of log p(x)."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import Namespace

from .. import plots
from ..disk.writing import save_figure
from ..evidence import BidirectionalGap, LogMarginal
from ..evidence.doubts import leaving_out, samples_help
from ..evidence.limits import FEWEST, HEAVY
from ..evidence.words import data_points
from ..pairs.batch import Points
from ..plots import evidence as evidence_plots
from ..runs.estimators import ESTIMATORS, FOR_SPEED
from ..runs.folder import title_of
from ..runs.parser import Parser, in_help
from ..uses.diagnostics import diagnose

WEAK = 0.6  # limit of k-hat, as it is with 316 samples, below which it is said
PROTOCOLS: dict[str, dict[str, Any]] = {"guide-5000": {"estimator": "guide", "num_samples": 5000}}
POOL = 1000  # data points that the figure of the latent dimensions is made from, at most


def say(result: LogMarginal | BidirectionalGap, settings: Mapping[str, Any]) -> str:
    """A result in words, with the settings of the evaluation."""
    return say_estimate(result, settings) if isinstance(result, LogMarginal) else say_gap(result)


def say_estimate(result: LogMarginal, settings: Mapping[str, Any]) -> str:
    """Estimates of log p(x), or log p(x | y), in words, with what can help where they are not to be trusted."""
    annealed = "acceptance" in result.details
    ess = result.ess.nan_to_num(0.0)  # of a data point without a finite weight
    counts = f"{result.num_samples.double().mean().item():,.0f} {'chains' if annealed else 'samples'}"
    mean = result.mean
    lines = [
        f"{result.quantity} = {mean.value:.3f} nats per data point",
        f"       +- {mean.standard_error:.3f} standard error over {data_points(len(result))}"
        if len(result) > 1
        else "       of one data point: no standard error over data points",
        f"       +- {mean.monte_carlo_error:.3f} Monte Carlo, {counts} each",
        f"       effective sample size from {ess.min().item():.1f} to {ess.max().item():.1f}, "
        f"median {ess.median().item():.1f}",
    ]
    if result.jackknife.isfinite().all():
        lines.append(
            f"       bias by the delta method {result.delta_method_bias.mean().item():+.4f}, {result.quantity} by the "
            f"jackknife {result.jackknife.mean().item():.3f}:\n       estimates from the weights that were drawn, no "
            f"bounds"
        )
    if (rise := result.last_rise()) is not None and not annealed:
        lines.append(f"       the bound rose by {rise[2]:.3f} from {rise[0]:,} to {rise[1]:,} samples")
    if target := settings.get("target_standard_error"):
        reached, largest = int((result.standard_error <= target).sum()), result.standard_error.max().item()
        lines.append(
            f"       standard error of at most {target:g} reached for {reached:,} of {data_points(len(result))}; the "
            f"largest is {largest:.3f}"
        )
    if annealed:
        acceptance = result.details["acceptance"]
        lines.append(
            f"       acceptance of the transitions from {acceptance.min().item():.2f} to {acceptance.max().item():.2f}"
        )
    if "rung" in result.details:
        chains = int(result.from_chains.sum())
        fitted, cost = int((result.details["rung"] > 0).sum()), result.details["evaluations"].double().mean().item()
        lines.append(
            f"       proposals: the guide for {data_points(len(result) - fitted)}, fitted Gaussians beside it for "
            f"{fitted - chains:,}{f', annealed chains for {chains:,}' if chains else ''};\n"
            f"       {cost:,.0f} evaluations of the model each"
        )
    if untold := int(result.undecided.sum()):
        lines.append(
            f"       too few {'chains' if annealed else 'samples'} to tell whether to trust {untold:,} of "
            f"{data_points(len(result))}: k-hat needs {FEWEST}"
        )
    # Of fewer there is no k-hat, but where no weight is finite.
    judged = (result.num_samples >= FEWEST) & ~result.from_chains
    limit = result.khat_limit.masked_fill(result.from_chains, HEAVY).min().item()
    weak = int(((result.khat > result.khat_limit) & judged).sum())
    if not annealed and limit < WEAK and weak:
        lines.append(
            f"       k-hat of so few samples sees little of a tail: {weak:,} of {len(result):,} are above {limit:.2f}, "
            f"the limit for so few"
        )
    if heavy := int(result.unreliable.sum()):
        why = "k-hat above 0.7, or chains that hardly moved" if annealed else "k-hat above 0.7"
        lines.append(
            f"       not to be trusted for {heavy:,} of {data_points(len(result))} ({why}): their {result.quantity}\n"
            f"       may be too low by more than the Monte Carlo error says."
        )
        if left_out := int(leaving_out(result).sum()):
            lines.append(
                f"       Of {left_out:,}, mass was found that the proposals hardly reach: k-hat is set to at least 1."
            )
        lines.append(f"       {_advice(result, settings)}")
    return "\n".join(lines)


def _advice(result: LogMarginal, settings: Mapping[str, Any]) -> str:
    """What can help that was not used yet."""
    helps, annealed = samples_help(result), "acceptance" in result.details
    if annealed:
        cures = ["more --num-temperatures", *(["--num-chains"] if helps else [])]
    else:
        cures = ["more --num-samples"] if helps else []
        if "rung" not in result.details and settings["estimator"] != "auto":
            cures += ["--widen 1.1"] if settings["widen"] == 1 else []
            cures += ["--estimator auto"]
        cures += ["--estimator annealed"]
    heavy = bool((result.khat > HEAVY).any())
    no_use = "" if helps or not heavy else f"; more {'chains' if annealed else 'samples'} do not help at such k-hat"
    return f"Try {' or '.join(cures)}{no_use}"


def say_gap(gap: BidirectionalGap) -> str:
    """Bounds from both sides in words."""
    mean = gap.mean_gap
    return (
        f"on {data_points(len(gap))} simulated from the model, log p(x) lies on average\n"
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


def parse_evaluation(chosen: Namespace, arguments: Sequence[str]) -> Namespace:
    """The options with those of the protocol, if one is asked for.

    Raises:
        ValueError: an option that the protocol has otherwise, or --given for an estimator without it.
    """
    takes_given = [name for name, each in ESTIMATORS.items() if "given" in inspect.signature(each.function).parameters]
    if chosen.given and chosen.estimator not in takes_given:
        raise ValueError(f"Expected --given with --estimator {' or '.join(takes_given)}; got {chosen.estimator}.")
    if chosen.protocol is None:
        return chosen
    given = {word[2:].partition("=")[0].replace("-", "_") for word in arguments if word.startswith("--")}
    for name, value in PROTOCOLS[chosen.protocol].items():
        if name in given and chosen[name] != value:
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"Expected {option} {value} with --protocol {chosen.protocol}; got {chosen[name]}.")
        chosen[name] = value
    if (found := protocol_of(settings_of_evaluation(chosen))) != chosen.protocol:
        raise ValueError(f"Expected --protocol {chosen.protocol} without options that change it; got those of {found}.")
    return chosen


def settings_of_evaluation(chosen: Namespace) -> dict[str, Any]:
    """All options that the numbers depend on."""
    own = [option for option in ESTIMATORS[chosen.estimator].options if option not in FOR_SPEED]
    given = ["given"] if chosen.given else []  # evaluations of earlier versions do not say that nothing was given
    return {
        option: chosen.get(option) for option in ("estimator", "seed", "split", "num_images", "widen", *given, *own)
    }


def defaults_of(estimator: str) -> dict[str, Any]:
    """The default of each option that the numbers depend on, but those that the name of an evaluation says itself."""
    own = {name: default for name, (_, default, _) in ESTIMATORS[estimator].options.items() if name not in FOR_SPEED}
    own |= {"seed": 0, "split": "test", "widen": 1.0, "given": []}
    return {name: default for name, default in own.items() if name not in ("num_samples", "num_chains")}


def protocol_of(settings: Mapping[str, Any]) -> str:
    """The name of the protocol that these settings are; "own settings" for none.

    Seed, split and number of data points do not matter.
    """
    protocols = {
        "default": {"estimator": "auto", "num_samples": ESTIMATORS["auto"].options["num_samples"][1]},
        **PROTOCOLS,
    }
    defaults = defaults_of(settings["estimator"])
    which = ("seed", "split", "num_images")
    for name, fixed in protocols.items():
        if all(value == {**defaults, **fixed}.get(key) for key, value in settings.items() if key not in which):
            return name
    return "own settings"


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
    text = "guide-5000, the field's for papers: --estimator guide --num-samples 5000, whatever its k-hat says."
    add("--protocol", type=Literal[*PROTOCOLS] | None, default=None, metavar="{guide-5000}", help=text)
    add("--num-images", type=int | None, default=None, help="A seeded random subset of so many data points.")
    add("--split", type=Literal["test", "validation"], default="test", help="Which data points.")
    add("--widen", type=float, default=1.0, help="Factor of the scales of the guide's latents.")
    text = (
        "Observed sites that log p is conditional on, for log p(the other sites | these): two estimates with one error."
    )
    add("--given", type=str, nargs="+", default=[], metavar="SITE", help=text)
    flags = {each.name: [_flag(key) for key in each.options if key not in without] for each in ESTIMATORS.values()}
    name = _named(arguments)
    if name == "importance":
        raise ValueError("Expected --estimator guide, as it is called in Python, too; got importance. Give guide.")
    if name not in ESTIMATORS:  # the parser says so
        return
    for word in (word.partition("=")[0] for word in arguments):
        others = [other for other, theirs in flags.items() if word in theirs]
        if others and word not in flags[name]:
            raise ValueError(
                f"Expected an option of --estimator {name}, {', '.join(flags[name])}; got {word}, which belongs to "
                f"--estimator {' or '.join(others)}."
            )
    summary = " ".join((inspect.getdoc(ESTIMATORS[name].function) or "").partition("\n\n")[0].split())
    group = parser.add_argument_group(f"--estimator {name}", f"{summary} Each estimator has options of its own.")
    for key, (kind, default, text) in ESTIMATORS[name].options.items():
        if key not in without:
            given = {"required": True} if default is inspect.Parameter.empty else {"default": default}
            group.add_argument(_flag(key), type=kind, help=in_help(text), **given)


def _named(arguments: Sequence[str]) -> str:
    """The estimator that a command line names, itself or by a protocol."""
    named = {}
    for word, following in zip(arguments, [*arguments[1:], ""], strict=False):
        option, equals, value = word.partition("=")
        named[option] = value if equals else following
    of_protocol = PROTOCOLS.get(named.get("--protocol", ""), {}).get("estimator", "auto")
    return named.get("--estimator", of_protocol)


def _flag(argument: str) -> str:
    return f"--{argument.replace('_', '-')}"
