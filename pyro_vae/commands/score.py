"""Score data by how unlike those of training a model finds them: by log p(x), the ELBO, ratios to other models."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from jsonargparse import Namespace
from tabulate import tabulate
from torch import Tensor

from ..arguments.at_least import at_least
from ..disk.json_files import write_json
from ..disk.writing import save_figure, write_text
from ..evidence import HeavyTail
from ..evidence.words import data_points
from ..pairs.batch import Points, joined, tensors_of
from ..plots.roc import roc_figure
from ..runs.environment import environment, few_threads
from ..runs.folder import require_run, title_of, weights_digest
from ..runs.given_data import GivenData, add_given_options, check_given, given_data
from ..runs.loading import command_line, load_run, random_subset, read_run
from ..runs.named_inputs import NamedInputs
from ..runs.options import add_run_options
from ..runs.parser import Parser
from ..training.device import choose_device
from ..uses.anomaly import AnomalyScores, Pair, score
from ..uses.detection import Detection, detect
from .pictures import place_of


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command."""
    add_given_options(parser)
    add = parser.add_argument
    text = "A run on data without what makes those of RUN special, such as perturbed copies of them: adds the ratio."
    add("--background", metavar="RUN", type=str | None, default=None, help=text)
    text = "Runs as RUN with other seeds: adds WAIC over all of them."
    add("--also", metavar="RUN", type=str, nargs="*", default=[], help=text)
    text = "Take DATA for anomalies and score the test data of RUN beside them: how well does each score tell them?"
    add("--against-test", type=bool, nargs="?", const=True, default=False, help=text)
    text = "Labels (names of classes) of anomalies among DATA: how well does each score tell them from the others?"
    add("--anomalies", metavar="LABEL", type=str, nargs="*", default=[], help=text)
    add("--num-images", type=int | None, default=None, help="A seeded random subset of so many data points of each.")
    add("--num-samples", type=int, default=1000, help="Samples of log p(x) for each data point and model.")
    text = "Validation data points, at most, whose mean log p(x) is the usual one."
    add("--num-reference", type=int, default=1000, help=text)
    add_run_options(parser, out="A .csv file; a .json, and a .png where anomalies are known, go beside it.")
    return parser.parse_args(arguments)


def run(chosen: Namespace) -> None:
    """Score data, and say how well anomalies are told where they are known."""
    folder, device = require_run(chosen.run), choose_device(chosen.device)
    path = place_of(chosen, "scores.csv", [".csv"])
    at_least(1, num_samples=chosen.num_samples, num_reference=chosen.num_reference)
    module, _ = load_run(folder, device)
    parts = _parts(chosen, folder)
    points = joined([part.points for part in parts]).to(device)
    validation = given_data(folder, None, "validation", root=chosen.root)
    _check_range(validation.points, points, folder)
    check_given(module, points)
    names = [name for name in (chosen.background, *chosen.also) if name]
    _check_different([folder, *map(Path, names)])
    known = NamedInputs.of_run(*read_run(folder))
    usual = random_subset(len(validation.points), chosen.num_reference, chosen.seed)
    with_runs = [_pair(Path(name), points, device, known) for name in names]
    with few_threads(module), warnings.catch_warnings():
        warnings.simplefilter("ignore", HeavyTail)  # said below, in the words of this command
        result = score(
            module.model,
            module.guide,
            points,
            reference=validation.points[usual].to(device),
            background=with_runs[0] if chosen.background else None,
            others=with_runs[1:] if chosen.background else with_runs,
            num_samples=chosen.num_samples,
            seed=chosen.seed,
            progress=True,
        )
    anomalous = torch.cat([part.anomalous for part in parts])
    found = detect(result.scores, anomalous, seed=chosen.seed) if chosen.against_test or chosen.anomalies else {}
    print("\n".join([f"{folder}", *(f"data   {part.words}" for part in parts), f"\n{result}\n"]))
    if count := int(result.unreliable.sum()):
        models = ", under one of the models" if names else ""
        print(
            f"{result.log_marginal.quantity} is not to be trusted for {count:,} of {data_points(len(result))}{models}: "
            f"it is likely too low.\nThe column unreliable of the table says for which. Try more --num-samples.\n"
        )
    if found:
        print(f"{_table(found)}\n")
    _save(path, result, parts, found, _about(result, parts, found) | environment(device, module), title_of(folder))
    print(f"saved in {path}, {path.with_suffix('.json').name}{f', {path.stem}.png' if found else ''}")


Detections = Mapping[str, Detection]  # by the name of the score


class _Part(NamedTuple):
    """Data points from one place."""

    name: str
    words: str  # how many of what
    points: Points
    numbers: Tensor  # of the data points there (N,)
    labels: dict[str, np.ndarray]  # (N,) by the column of the table
    anomalous: Tensor  # (N,), bool


def _parts(chosen: Namespace, folder: Path) -> list[_Part]:
    """The data to score: DATA, and the run's own test data where they are asked for."""
    if chosen.against_test and (chosen.data is None or chosen.anomalies):
        other = "--anomalies" if chosen.anomalies else "no DATA"
        raise ValueError(
            f"Expected --against-test with DATA that are all anomalies; got it with {other}. Leave one of them out."
        )
    given = given_data(folder, chosen.data, chosen.split, root=chosen.root)
    if not chosen.anomalies:
        is_anomalous = torch.full((len(given.points),), chosen.against_test)
    else:
        labels = given.labels_among(chosen.anomalies)
        if set(chosen.anomalies) >= set(labels):
            raise ValueError(
                f"Expected other labels beside those of --anomalies; got all, {', '.join(chosen.anomalies)}."
            )
        is_anomalous = torch.from_numpy(np.isin(labels, chosen.anomalies))
    parts = [_part(chosen.data or "own", given, is_anomalous, chosen)]
    if chosen.against_test:
        test = given_data(folder, None, "test", root=chosen.root)
        parts.append(_part("own test data", test, torch.zeros(len(test.points), dtype=torch.bool), chosen))
    return parts


def _part(name: str, given: GivenData, anomalous: Tensor, chosen: Namespace) -> _Part:
    count = len(given.points)
    wanted = count if chosen.num_images is None else chosen.num_images
    if not 1 <= wanted <= count:
        raise ValueError(f"Expected --num-images from 1 to {count:,}, all of {name}; got {wanted}.")
    numbers = random_subset(count, wanted, chosen.seed).sort().values if wanted < count else torch.arange(count)
    words = given.protocol if wanted == count else f"a random {wanted:,} (seed {chosen.seed}) of: {given.protocol}"
    labels = {name: values[numbers.numpy()] for name, values in (given.rows() | given.labels()).items()}
    return _Part(name, words, given.points[numbers], numbers, labels, anomalous[numbers])


def _check_range(own: Points, points: Points, folder: Path) -> None:
    """Raise a ValueError where values leave [0, 1] that all of the run's own are in: such data are scaled otherwise."""
    for mine, theirs in zip(tensors_of(own), tensors_of(points), strict=True):
        inside = [bool(((x >= 0) & (x <= 1) | x.isnan()).all()) for x in (mine, theirs)]
        if mine.is_floating_point() and inside == [True, False]:
            raise ValueError(
                f"Expected values in [0, 1], as those that {folder} was trained on; got {theirs.nan_to_num(0).min():g} "
                f"to {theirs.nan_to_num(0).max():g}. Scale the data alike, or save grey levels as uint8."
            )


def _check_different(folders: Sequence[Path]) -> None:
    """Raise a ValueError where two runs have the same weights: they would say that models agree."""
    seen: dict[str, Path] = {}
    for folder in folders:
        digest = weights_digest(require_run(folder))
        if digest in seen:
            raise ValueError(f"Expected different runs; got the same weights in {seen[digest]} and {folder}.")
        seen[digest] = folder


def _pair(folder: Path, points: Points, device: torch.device, names: NamedInputs) -> Pair:
    """The pair of another run for the same data; refused where it is for others."""
    module, about = load_run(require_run(folder), device)
    shapes = {tuple(x.shape[1:]) for x in tensors_of(points)}
    if (shape := tuple(about["event_shape"])) not in shapes:
        raise ValueError(f"Expected {folder} to be a run on data of the same shape; got one on {shape}.")
    if difference := NamedInputs.of_run(*read_run(folder)).difference_to(names):
        raise ValueError(
            f"Expected {folder} to be a run on the same columns of x and categories in the same order; {difference}. "
            f"Train it on data with that order."
        )
    check_given(module, points)
    return module.model, module.guide


def _table(found: Detections) -> str:
    """AUC and average precision of each score."""
    rows = [[name, str(each.auc), str(each.average_precision)] for name, each in found.items()]
    by_chance = next(iter(found.values())).prevalence
    headers = ["score", "AUC [95%]", f"average precision (by chance {by_chance:.3f})"]
    return tabulate(rows, headers, disable_numparse=True)


def _about(result: AnomalyScores, parts: Sequence[_Part], found: Detections) -> dict[str, Any]:
    """What the table's numbers need to be understood."""
    return {
        "command": command_line(),
        "protocol": [part.words for part in parts],
        "num_data_points": len(result),
        "num_samples": result.log_marginal.num_samples.unique().tolist(),
        "num_draws": result.num_draws,
        "num_models": result.num_models,
        "estimator": result.log_marginal.estimator,
        "measure": result.log_marginal.measure,
        "unreliable": int(result.unreliable.sum()),
        "reference_log_marginal": None if result.reference is None else result.reference.value,
        "detection": {name: each.to_json() for name, each in found.items()},
    }


def _save(
    path: Path, result: AnomalyScores, parts: Sequence[_Part], found: Detections, about: dict[str, Any], title: str
) -> None:
    first: dict[str, list[Any]] = {"id": torch.cat([part.numbers for part in parts]).tolist()}
    if len(parts) > 1:
        first["data"] = [part.name for part in parts for _ in part.numbers]
    for name in parts[0].labels:
        if all(name in part.labels for part in parts):
            first[name] = [label for part in parts for label in part.labels[name].tolist()]
    anomalous = torch.cat([part.anomalous for part in parts])
    if found:
        first["anomalous"] = anomalous.int().tolist()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, result.to_csv(first))
    write_json(path.with_suffix(".json"), about, kind="scores")
    if found:
        label = f"-{result.log_marginal.quantity}, nats"
        figure = roc_figure(found, result.scores["negative_log_prob"], anomalous, label=label, title=title)
        save_figure(figure, path.with_suffix(".png"))
