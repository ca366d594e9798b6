"""Estimate log p(x) of held-out data, for trained runs; also under torchrun, which shares the data out."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat
from torch import Tensor

from ..data import Data
from ..disk.json_files import read_json
from ..disk.lock import locked
from ..evidence import BidirectionalGap, HeavyTail, LogMarginal
from ..evidence.bits import bits_of, said_in_bits
from ..evidence.words import data_points
from ..pairs.batch import Points
from ..pairs.widened import widened
from ..runs.environment import environment, few_threads
from ..runs.estimators import ESTIMATORS
from ..runs.evaluations import digest, evaluation_name, load_evaluation, save_evaluation
from ..runs.folder import doubts_of, read_about, require_run, weights_digest
from ..runs.loading import command_line, data_of, load_run, points_of, random_subset, read_run, x_of
from ..runs.options import add_device_option, add_root_option, add_seed_option
from ..runs.parser import Parser
from ..runs.partial_results import PartialResults
from ..runs.processes import processes, wait_for_others
from ..runs.settings import dump
from ..training.device import choose_device
from .bracketing import report_bracket
from .evaluation import (
    add_evaluation_options,
    defaults_of,
    draw,
    parse_evaluation,
    protocol_of,
    say,
    settings_of_evaluation,
)
from .process import uninterrupted

OF_TRAINING = ("command", "finished", "warmed_up", "epochs", "seconds", "device", "threads")


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    parser.add_argument("runs", metavar="RUN", nargs="+", type=str, help="Run folders.")
    add_evaluation_options(parser, arguments)
    text = (
        "Also bound log p(x) from both sides, on data simulated from the model: only for them there are upper bounds."
    )
    parser.add_argument("--bracket", action="store_true", help=text)
    text = (
        "Stop then, once the data points at work are finished, with log p(x) of a random part of the data; the same "
        "command goes on."
    )
    parser.add_argument("--max-seconds", type=PositiveFloat | None, default=None, help=text)
    add_root_option(parser)
    add_seed_option(parser, "Seed of the samples and of the subset of the data.")
    add_device_option(parser)
    chosen = parse_evaluation(parser.parse_args(arguments), arguments)
    if chosen.max_seconds is not None and chosen.given:
        raise ValueError("Expected --max-seconds without --given, whose estimates come all at once; got both.")
    return chosen


def run(chosen: Namespace) -> None:
    """Evaluate the runs, one after the other."""
    with processes(choose_device(chosen.device)) as (rank, count):
        for name in chosen.runs:
            folder = require_run(name)
            dataset = data_of(folder, root=chosen.root)
            if rank == 0:
                print(f"{folder}\ndata   {dataset.protocol}", flush=True)
                for line in doubts_of(read_about(folder)):
                    print(f"note   {line}")
            seconds = math.inf if chosen.max_seconds is None else chosen.max_seconds
            result = evaluate_run(folder, chosen, dataset, rank=rank, count=count, max_seconds=seconds)
            if result is not None:
                estimator, name = ESTIMATORS[chosen.estimator], name_of(chosen, dataset)
                print(f"       protocol: {protocol_of(settings_of_evaluation(chosen))}")
                print(say(result, settings_of_evaluation(chosen)))
                print(said_in_bits(read_json(folder / f"{name}.json", kind=estimator.kind.__name__)), end="")
                print(f"saved in {folder / name}.json, .npz and figures, {name}*.png")
            if chosen.bracket and result is not None:
                device = choose_device(chosen.device)
                report_bracket(folder, load_run(folder, device)[0], dataset.test, device=device, seed=chosen.seed)


def name_of(chosen: Namespace, dataset: Data) -> str:
    """The name of the evaluation that the options ask for."""
    settings, defaults = settings_of_evaluation(chosen), defaults_of(chosen.estimator)
    samples = settings.get("num_samples", settings.get("num_chains"))
    count = len(getattr(dataset, chosen.split))
    others = {name: value for name, value in settings.items() if name in defaults and value != defaults[name]}
    others |= {"given": "+".join(chosen.given)} if chosen.given else {}
    return evaluation_name(chosen.estimator, samples, chosen.num_images or count, of=count, others=others)


def finished_evaluation(folder: Path, chosen: Namespace, dataset: Data) -> LogMarginal | None:
    """The estimate that a run has already, if it was made with these options."""
    try:
        result, about = load_evaluation(folder, name_of(chosen, dataset))
    except (FileNotFoundError, ValueError):
        return None
    return result if about.get("estimator_settings") == settings_of_evaluation(chosen) else None


class OutOfTime(Exception):
    """The time of an evaluation is over."""


def evaluate_run(
    folder: Path,
    chosen: Namespace,
    dataset: Data,
    *,
    rank: int = 0,
    count: int = 1,
    progress: bool = True,
    max_seconds: float = math.inf,
) -> LogMarginal | BidirectionalGap | None:
    """Estimate log p(x) for one run and save it there; None where the time was too short, and in all processes but the
    first, which alone may show its progress."""
    name = f"evaluation_{chosen.estimator}"
    with contextlib.ExitStack() as held:
        if rank == 0:
            held.enter_context(locked(folder / f".{name}", doing=f"evaluating {folder} with the same estimator"))
        alone = progress and rank == 0
        return _evaluate(folder, chosen, dataset, rank=rank, count=count, progress=alone, max_seconds=max_seconds)


def _evaluate(
    folder: Path, chosen: Namespace, dataset: Data, *, rank: int, count: int, progress: bool, max_seconds: float
) -> LogMarginal | BidirectionalGap | None:
    device, estimator, settings = (
        choose_device(chosen.device),
        ESTIMATORS[chosen.estimator],
        settings_of_evaluation(chosen),
    )
    name = name_of(chosen, dataset)
    module, _ = load_run(folder, device)
    x, indices, which = _data_points(chosen, dataset)
    x = x.to(device)
    simulated = estimator.kind is BidirectionalGap  # then it takes from the data their number and shape alone
    what = list(x.shape) if simulated and isinstance(x, Tensor) else digest(x)
    about = settings | {"images": what, "weights": weights_digest(folder)}
    partial: PartialResults[Any] = PartialResults(folder / f"{name}.partial", estimator.kind, about, rank=rank)
    if rank == 0:
        partial.open()
    wait_for_others(count)
    done = set(partial.numbers())
    if done and rank == 0:
        print(f"       {len(done):,} of {len(x):,} data points are finished already, and kept")
    wait_for_others(count)
    # In random order, so that what is finished when it stops stands for all of the data.
    left = [i for i in random_subset(len(x), len(x), chosen.seed).tolist() if i not in done][rank::count]
    stop = time.monotonic() + max_seconds

    def add(numbers: list[int], result: Any) -> None:
        partial.add(numbers, result)
        if time.monotonic() > stop:
            raise OutOfTime

    try:
        if left:
            _estimate(module, x, chosen, only=left, on_result=add, progress=progress)
    except OutOfTime:
        pass
    except KeyboardInterrupt:
        partial.flush()
        raise KeyboardInterrupt(so_far(partial, len(x), chosen) if rank == 0 else "") from None  # one process speaks
    partial.flush()
    wait_for_others(count)
    if rank > 0:
        return None
    if len(partial.numbers()) < len(x) and max_seconds < math.inf:
        print(f"       {so_far(partial, len(x), chosen)}")
        return None
    result: LogMarginal | BidirectionalGap = partial.finished(len(x))
    if isinstance(result, BidirectionalGap):
        x, which = result.x.to(device), f"{data_points(len(result))} simulated from the model"
    about = _about(module, folder, dataset, chosen, which)
    if isinstance(result, LogMarginal):
        result = dataclasses.replace(result, indices=indices)  # in the split, not in the subset
        if not result.given:  # else the values of some sites alone
            count = sum(result.sites.values())
            about |= bits_of(result.log_prob, x_of(dataset, x), dataset, measure=result.measure, num_values=count)
    about |= environment(device, module)
    with (
        uninterrupted(f"interrupted; the evaluation is finished, and saved in {folder / name}.json"),
        few_threads(module),
    ):
        save_evaluation(folder, result, name, x=x, about=about)
        partial.remove()
        draw(module, result, x, folder / name)
    return result


def so_far(partial: PartialResults[Any], count: int, chosen: Namespace) -> str:
    """How many of so many data points are finished when an evaluation stops; prints what their results say."""
    if len(numbers := partial.numbers()) > 1:
        said = say(partial.so_far(), settings_of_evaluation(chosen))
        print(f"       of a random {len(numbers):,} of the data points:\n{said}")
    return f"stopped; {len(numbers):,} of {count:,} data points are kept: the same command goes on"


def _data_points(chosen: Namespace, dataset: Data) -> tuple[Points, Tensor, str]:
    """The data points that the options ask for, their numbers in the split, and which they are in words."""
    x = points_of(dataset, chosen.split)
    if chosen.num_images is None:
        return x, torch.arange(len(x)), f"evaluated on all of the {chosen.split} data"
    if not 1 <= chosen.num_images <= len(x):
        raise ValueError(f"Expected --num-images from 1 to {len(x):,}; got {chosen.num_images}.")
    which = f"evaluated on a random {chosen.num_images:,} (seed {chosen.seed}) of the {chosen.split} data"
    indices = random_subset(len(x), chosen.num_images, chosen.seed)
    return x[indices], indices, which


def _estimate(module: Any, x: Points, chosen: Namespace, **how: Any) -> None:
    """Run the estimator with its options."""
    estimator, guide = ESTIMATORS[chosen.estimator], module.guide
    options = {**estimator.fixed, **{option: chosen[option] for option in estimator.options}}
    options |= {"given": chosen.given} if chosen.given else {}
    guide = guide if chosen.widen == 1 else widened(guide, chosen.widen)
    with few_threads(module), warnings.catch_warnings():
        warnings.simplefilter("ignore", HeavyTail)  # said below, in the words of this command
        estimator.function(module.model, guide, x, seed=chosen.seed, **options, **how)


def _about(module: Any, folder: Path, dataset: Data, chosen: Namespace, which: str) -> dict[str, Any]:
    """What a result is about: estimator, data protocol, model, training."""
    config, trained = read_run(folder)
    return {
        "estimator_settings": settings_of_evaluation(chosen),
        "evaluation_protocol": protocol_of(settings_of_evaluation(chosen)),
        "protocol": f"{dataset.protocol}; {which}",
        "likelihood": repr(getattr(module, "likelihood", None) or f"that of {type(module).__name__}").strip("'"),
        "settings": dump(config),
        "training": {name: trained.get(name) for name in OF_TRAINING},
        "notes": doubts_of(trained),
        "command": command_line(),
    }
