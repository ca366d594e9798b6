"""Estimate log p(x) of held-out data, for trained runs; also under torchrun, which shares the data out."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from torch import Tensor

from ..data import Data
from ..disk.json_files import read_json
from ..disk.lock import locked
from ..evidence import BidirectionalGap, HeavyTail, LogMarginal
from ..evidence.bits import bits_of, said_in_bits
from ..pairs.batch import Points
from ..pairs.widened import widened
from ..runs.environment import environment, few_threads
from ..runs.estimators import ESTIMATORS, FOR_SPEED
from ..runs.evaluations import digest, load_evaluation, save_evaluation
from ..runs.folder import require_run, weights_digest
from ..runs.loading import command_line, data_of, load_run, points_of, random_subset, read_run, x_of
from ..runs.options import add_device_option, add_root_option, add_seed_option
from ..runs.parser import Parser
from ..runs.partial_results import PartialResults
from ..runs.processes import processes, wait_for_others
from ..runs.settings import dump
from ..training.device import choose_device
from .evaluation import add_evaluation_options, draw, say


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    parser.add_argument("runs", metavar="RUN", nargs="+", type=str, help="Run folders.")
    add_evaluation_options(parser, arguments)
    add_root_option(parser)
    add_seed_option(parser, "Seed of the samples and of the subset of the data.")
    add_device_option(parser)
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Evaluate the runs, one after the other."""
    with processes(choose_device(chosen.device)) as (rank, count):
        for name in chosen.runs:
            folder = require_run(name)
            dataset = data_of(folder, root=chosen.root)
            if rank == 0:
                print(f"{folder}\ndata   {dataset.protocol}", flush=True)
            result = evaluate_run(folder, chosen, dataset, rank=rank, count=count)
            if result is not None:
                estimator = ESTIMATORS[chosen.estimator]
                print(say(result))
                print(said_in_bits(read_json(folder / f"{estimator.file}.json", kind=estimator.kind.__name__)), end="")
                print(f"saved in {folder / estimator.file}.json, .npz and figures, {estimator.file}*.png")


def _settings(chosen: Namespace) -> dict[str, Any]:
    """All options that the numbers depend on."""
    own = [option for option in ESTIMATORS[chosen.estimator].options if option not in FOR_SPEED]
    return {option: chosen[option] for option in ("estimator", "seed", "split", "num_images", "widen", *own)}


def finished_evaluation(folder: Path, chosen: Namespace) -> LogMarginal | None:
    """The estimate that a run has already, if it was made with these options."""
    try:
        result, about = load_evaluation(folder, ESTIMATORS[chosen.estimator].file)
    except (FileNotFoundError, ValueError):
        return None
    return result if about.get("estimator_settings") == _settings(chosen) else None


def evaluate_run(
    folder: Path, chosen: Namespace, dataset: Data, *, rank: int = 0, count: int = 1
) -> LogMarginal | BidirectionalGap | None:
    """Estimate log p(x) for one run and save it there; None in all processes but the first."""
    name = ESTIMATORS[chosen.estimator].file
    with contextlib.ExitStack() as held:
        if rank == 0:
            held.enter_context(locked(folder / f".{name}", doing=f"evaluating {folder} with the same estimator"))
        return _evaluate(folder, chosen, dataset, rank=rank, count=count)


def _evaluate(
    folder: Path, chosen: Namespace, dataset: Data, *, rank: int, count: int
) -> LogMarginal | BidirectionalGap | None:
    device, estimator, settings = choose_device(chosen.device), ESTIMATORS[chosen.estimator], _settings(chosen)
    module, _ = load_run(folder, device)
    x, indices, which = _data_points(chosen, dataset)
    x = x.to(device)
    simulated = estimator.kind is BidirectionalGap  # then it takes from the data their number and shape alone
    what = list(x.shape) if simulated and isinstance(x, Tensor) else digest(x)
    about = settings | {"images": what, "weights": weights_digest(folder)}
    partial: PartialResults[Any] = PartialResults(
        folder / f"{estimator.file}.partial", estimator.kind, about, rank=rank
    )
    if rank == 0:
        partial.open()
    wait_for_others(count)
    done = set(partial.numbers())
    if done and rank == 0:
        print(f"       {len(done):,} of {len(x):,} data points are finished already, and kept")
    wait_for_others(count)
    left = [i for i in range(len(x)) if i not in done][rank::count]
    try:
        if left:
            _estimate(module, x, chosen, only=left, on_result=partial.add, progress=rank == 0)
    except KeyboardInterrupt:
        partial.flush()
        kept = f"stopped; {len(partial.numbers()):,} of {len(x):,} data points are kept: the same command goes on"
        raise KeyboardInterrupt(kept if rank == 0 else "") from None  # one process speaks
    partial.flush()
    wait_for_others(count)
    if rank > 0:
        return None
    result: LogMarginal | BidirectionalGap = partial.finished(len(x))
    if isinstance(result, BidirectionalGap):
        x, which = result.x.to(device), f"{len(result):,} data points simulated from the model"
    about = _about(module, folder, dataset, chosen, which)
    if isinstance(result, LogMarginal):
        result = dataclasses.replace(result, indices=indices)  # in the split, not in the subset
        about |= bits_of(result.log_prob, x_of(dataset, x), dataset, measure=result.measure)
    about |= environment(device, module)
    save_evaluation(folder, result, name=estimator.file, x=x, about=about)
    partial.remove()
    with few_threads(module):
        draw(module, result, x, folder / estimator.file)
    return result


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
    guide = guide if chosen.widen == 1 else widened(guide, chosen.widen)
    with few_threads(module), warnings.catch_warnings():
        warnings.simplefilter("ignore", HeavyTail)  # said below, in the words of this command
        estimator.function(module.model, guide, x, seed=chosen.seed, **options, **how)


def _about(module: Any, folder: Path, dataset: Data, chosen: Namespace, which: str) -> dict[str, Any]:
    """What a result is about: estimator, data protocol, model, training."""
    config, trained = read_run(folder)
    return {
        "estimator_settings": _settings(chosen),
        "protocol": f"{dataset.protocol}; {which}",
        "likelihood": repr(getattr(module, "likelihood", None) or f"that of {type(module).__name__}").strip("'"),
        "settings": dump(config),
        "training": {name: trained[name] for name in ("command", "finished", "epochs", "seconds", "device", "threads")},
        "command": command_line(),
    }
