"""Search settings by the validation ELBO (Optuna); the final number is log p(x) of test data, from fresh seeds."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from ..arguments.at_least import at_least
from ..data import Data
from ..disk.json_files import write_json
from ..disk.writing import write_text
from ..evidence import LogMarginal
from ..runs.environment import environment, few_threads
from ..runs.estimators import ESTIMATORS
from ..runs.grid import Candidate
from ..runs.loading import command_line
from ..runs.named_inputs import NamedInputs
from ..runs.new_folder import claimed
from ..runs.options import add_trust_option
from ..runs.parser import Parser
from ..runs.parts import build_objective
from ..runs.search_space import Axis, axes_of, chosen_layer
from ..runs.settings import DEFAULT_PARTS, Layer, dump, layer_of, over, parse_training, settings_of
from ..runs.starting_weights import freeze, start_from
from ..runs.study import asked, best_of, opened, told, tried
from ..training.device import choose_device
from ..training.epoch import StopTraining
from .compare import DEFAULTS, write_comparison
from .evaluation import add_evaluation_options, parse_evaluation
from .from_settings import build_module, fit_settings
from .train_candidates import check, configs_of, train_all

JOURNAL = "study.jsonl"
GIVEN = "as given"
ROUNDED = 1e-6  # a weight is float32 in training


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command; those of the parts depend on the arguments."""
    add = parser.add_argument_group(
        "what to search",
        "NAME=LOW..HIGH is a range, of whole numbers where both ends are, by its logarithm where HIGH is at least ten "
        "times LOW; NAME=A,B,C are choices. NAME is a setting of the training, a part (prior=StandardNormal,VampPrior: "
        "candidates as in compare) or an option of one (prior.num_components=10..100). All others stay as given. "
        "The same command goes on where it was stopped; with more --trials it searches on.",
    ).add_argument
    add("--search", nargs="+", type=str, metavar="NAME=VALUES", default=[], help="Settings to search.")
    text = "Trainings, all with the --seed; one whose validation ELBO falls below the median of the others is stopped."
    add("--trials", type=int, default=30, help=text)
    text = "Fresh seeds, those after --seed, for the final numbers of the best settings and of those as given."
    add("--seeds", type=int, default=3, help=text)
    add_trust_option(parser)
    add_evaluation_options(parser, arguments, without=["precision"])  # which is that of the training here
    own = parser.names()
    out = "Folder of the results; by default tuned."
    chosen = parse_evaluation(parse_training(parser, arguments, out=out, defaults=DEFAULTS), arguments)
    chosen.training = Namespace({key: value for key, value in vars(chosen).items() if key not in own})
    return chosen


def run(chosen: Namespace) -> None:
    """Search, then train and evaluate what was found with fresh seeds."""
    started = time.perf_counter()
    if (estimator := ESTIMATORS[chosen.estimator]).kind is not LogMarginal:
        of_one = " or ".join(name for name, each in ESTIMATORS.items() if each.kind is LogMarginal)
        raise ValueError(f"Expected --estimator {of_one} for a search; got {estimator.name}.")
    if chosen.split != "test":
        raise ValueError(f"Expected --split test, data that the search has not seen; got {chosen.split}.")
    at_least(1, trials=chosen.trials, seeds=chosen.seeds)
    axes, base = axes_of(chosen.search), layer_of(chosen.training)
    dataset = check(configs_of(_ends(axes, base), chosen.training, seed=chosen.seed, num_seeds=1))
    out = Path(chosen.out or "tuned")
    with claimed(out, "comparison", overwrite=chosen.overwrite or (out / JOURNAL).is_file()) as folder:
        trials = _searched(folder, axes, base, dataset, chosen)
        best = best_of(trials)
        layer = chosen_layer(axes, base, lambda axis: best.params[axis.name])
        candidates = [Candidate(f"trial {best.number}", layer)]
        if _config(base, layer, chosen) != _config(base, ({}, {}), chosen):
            candidates.append(Candidate(GIVEN, ({}, {})))
        configs = configs_of(candidates, chosen.training, seed=chosen.seed + 1, num_seeds=chosen.seeds)
        write_text(folder / "best.yaml", dump(configs[candidates[0].name, 0]))
        print(
            f"\nbest   trial {best.number}, {_in_words(best.params)}: validation ELBO {best.value:.2f} nats per data "
            f"point,\n       which is too high for these settings: it was chosen as the best of {len(trials)}. What "
            f"counts is log p(x)\n       of the test data, with fresh seeds:\n"
        )
        chosen.jobs, chosen.backend, chosen.runs, chosen.options = 1, "loky", [], []
        write_comparison("model", train_all(configs, dataset, folder, chosen), folder, chosen, started)
        print(f"       the search in tuning.json and {JOURNAL}, its best settings in best.yaml")


def _ends(axes: Sequence[Axis], base: Layer) -> list[Candidate]:
    """Each choice and each end of a range, the other axes at their first value: all of them must be settings."""
    first = {axis.name: axis.choices[0] for axis in axes}
    points = [first | {axis.name: value} for axis in axes for value in axis.choices]
    layers = [chosen_layer(axes, base, lambda axis, point=point: point[axis.name]) for point in points]  # type: ignore[misc]
    distinct = [layer for number, layer in enumerate(layers) if layer not in layers[:number]]
    return [Candidate(_in_words({**names, **values}), (names, values)) for names, values in distinct]


def _config(base: Layer, layer: Layer, chosen: Namespace) -> Namespace:
    """Settings as ``pyro-vae train`` would have them."""
    names, values = over(over(({**DEFAULT_PARTS}, {}), base), layer)
    return settings_of((names, {**values, "seed": chosen.seed}), given=layer[0])


def _searched(folder: Path, axes: Sequence[Axis], base: Layer, dataset: Data, chosen: Namespace) -> list[Any]:
    """The trials of a search, those of earlier calls too; writes them into the folder."""
    as_given = dump(_config(base, ({}, {}), chosen))
    about = {"search": sorted(chosen.search), "settings": as_given, "data": dataset.digest}
    with opened(folder / JOURNAL, about, given=_given(axes, base)) as study:
        there = f"{len(tried(study))} of them are there"
        print(f"data   {dataset.protocol}\nsearch {chosen.trials} trials, {there}\n", flush=True)
        try:
            while (count := len(tried(study))) < chosen.trials:
                print(f"{count + 1:3d}/{chosen.trials}  {_try(study, axes, base, dataset, chosen)}", flush=True)
        except KeyboardInterrupt:
            kept = f"stopped; {len(tried(study))} of {chosen.trials} trials are kept: the same command goes on"
            raise KeyboardInterrupt(kept) from None
        trials: list[Any] = tried(study)
    rows = [{"trial": t.number, "settings": t.params, "validation_elbo": t.value, **t.user_attrs} for t in trials]
    content = about | {"trials": rows, "protocol": dataset.protocol, "command": command_line()}
    write_json(folder / "tuning.json", content | environment(choose_device(chosen.device)), kind="tuning")
    return trials


def _given(axes: Sequence[Axis], base: Layer) -> dict[str, Any] | None:
    """The settings as given, as a trial; None if the search does not hold them."""
    given: dict[str, Any] = {}
    settings = {**base[1], **base[0]}

    def value_of(axis: Axis) -> Any:
        given[axis.name] = axis.nearest(settings.get(axis.name))
        return axis.choices[0] if given[axis.name] is None else given[axis.name]

    chosen_layer(axes, base, value_of)
    return None if None in given.values() else given


def _try(study: Any, axes: Sequence[Axis], base: Layer, dataset: Data, chosen: Namespace) -> str:
    """Train with the next settings; what came of it, in words."""
    trial = asked(study, seed=chosen.seed)
    layer = chosen_layer(axes, base, lambda axis: axis.suggested(trial))
    stopped = False

    def on_step(step: int, metrics: dict[str, float]) -> None:
        nonlocal stopped
        if "epoch" in metrics and metrics["kl_weight"] >= config.kl_weight * (1 - ROUNDED):  # the warm-up is over
            trial.report(metrics["validation_elbo"], int(metrics["epoch"]))
            stopped = trial.should_prune()
        if stopped:
            raise StopTraining

    value = None
    try:
        config = _config(base, layer, chosen)
        module, objective = build_module(config, dataset), build_objective(config.objective.as_dict())
        if config.init_from is not None:
            start_from(config.init_from, module, needed=config.freeze, named=NamedInputs.of_data(config, dataset))
        freeze(module, config.freeze)
        with few_threads(module):
            result = fit_settings(config, module, objective, dataset, choose_device(config.device), on_step=on_step)
        value = result.history[result.best_epoch - 1]["validation_elbo"]
        outcome = "stopped early" if stopped else "trained"
    except OSError:
        raise
    except Exception as error:  # one of a user's class, too: the others are still searched
        kind = "" if isinstance(error, (ValueError, ArithmeticError, RuntimeError)) else f"{type(error).__name__}: "
        outcome = kind + " ".join(str(error).split())
    told(study, trial, outcome, value)
    elbo = "" if value is None else f"validation ELBO {value:8.2f}  "
    return f"{elbo}{_in_words(trial.params)}{'' if outcome == 'trained' else f'  ({outcome})'}"


def _in_words(settings: Mapping[str, Any]) -> str:
    """
    Example:
        >>> _in_words({"learning_rate": 0.00123456, "prior": "LARS"})
        'learning_rate=0.00123 prior=LARS'
    """
    return " ".join(f"{k}={v:.3g}" if isinstance(v, float) else f"{k}={v}" for k, v in settings.items())
