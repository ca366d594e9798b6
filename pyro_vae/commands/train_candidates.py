"""Train and evaluate what `compare` compares; what is there already is taken as it is."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from socket import gethostname

from jsonargparse import Namespace
from tqdm import tqdm

from ..data import Data
from ..evidence import LogMarginal
from ..evidence.alike import require_one_kind, require_same_values
from ..output.progress import progress_bar
from ..pairs.batch import taking
from ..pairs.contexts import evaluating, seeded
from ..pairs.densities import check_guide
from ..pairs.enumerated import summed_out
from ..pairs.scoring import traces
from ..pairs.sites import counted_sites, measure_of
from ..runs.candidates import file_name
from ..runs.folder import is_finished, require_same_data
from ..runs.grid import Candidate
from ..runs.jobs import Died, in_processes
from ..runs.loading import binarization, load_data, points_of
from ..runs.own_classes import own_classes, require_as_begun, trusting
from ..runs.settings import CHECKPOINTS, DEFAULT_PARTS, dump, layer_of, over, settings_of
from .evaluate import evaluate_run, finished_evaluation
from .from_settings import build_module
from .train_run import train_run


@dataclass(frozen=True)
class Outcome:
    """What came of one run, in numbers.

    Attributes:
        log_marginal: mean over the data points, in nats.
        smallest_ess: over the data points.
        seconds: that it took; None where it was there.
        failed: why there are no numbers; empty where there are.
    """

    log_marginal: float = math.nan
    smallest_ess: float = math.nan
    seconds: float | None = None
    failed: str = ""

    @classmethod
    def of(cls, result: LogMarginal, *, seconds: float | None = None) -> Outcome:
        """That of a run with this estimate."""
        return cls(result.mean.value, result.ess.min().item(), seconds)

    def __str__(self) -> str:
        if self.failed:
            return f"failed: {self.failed}"
        spent = "was there" if self.seconds is None else f"{self.seconds:5.1f} s"
        return f"log p(x) {self.log_marginal:8.2f}  smallest ESS {self.smallest_ess:6.1f}  {spent}"


Configs = Mapping[tuple[str, int], Namespace]  # by name and number of the seed


@dataclass
class Trained:
    """What came of the candidates: the runs of each, and why some have none."""

    runs: dict[str, list[Path]] = field(default_factory=dict)
    failed: dict[str, list[str]] = field(default_factory=dict)


def configs_of(candidates: Sequence[Candidate], training: Namespace, *, seed: int, num_seeds: int) -> Configs:
    """The settings of each candidate with each seed, as ``pyro-vae train`` would have them; all different."""
    if num_seeds < 1:
        raise ValueError(f"Expected --seeds >= 1; got {num_seeds}.")
    configs = {}
    for number in range(num_seeds):  # one seed of each before the next: an interrupted comparison holds all of them
        for candidate in candidates:
            names, values = over(over(({**DEFAULT_PARTS}, {}), layer_of(training)), candidate.layer)
            config = settings_of((names, {**values, "seed": seed + number}), given=candidate.layer[0])
            config.overwrite = True
            for name in CHECKPOINTS:
                config[name] = training[name]
            configs[candidate.name, number] = config
    if len(set(map(dump, configs.values()))) < len(configs):
        known = ", ".join(candidate.name for candidate in candidates)
        raise ValueError(f"Expected different candidates; got two that are the same among {known}.")
    return configs


def run_folder(folder: Path, name: str, config: Namespace) -> Path:
    """Where the run of a candidate is, in the folder of the comparison."""
    return folder / "runs" / f"{file_name(name)}-seed{config.seed}"


def check(configs: Configs, *, given: Sequence[str] = ()) -> Data:
    """Try each candidate on one batch, so that what is wrong with any shows before the first is trained: other data, a
    part that refuses, densities beside probabilities, other values of x that count (where the evaluation is conditional
    on given sites, that is seen after it). The data of all of them.
    """
    first: dict[str, Namespace] = {}
    for (name, _), config in configs.items():
        first.setdefault(name, config)
    binarized = {name: binarization(config) for name, config in first.items()}
    if len(set(binarized.values())) > 1:
        wants = ", ".join(f"{name} {value}" for name, value in binarized.items())
        raise ValueError(
            f"Expected candidates for the same data; without --binarization it is {wants}. Give one for all, such as "
            f"--binarization dynamic."
        )
    dataset = load_data(next(iter(first.values())))
    batch = points_of(dataset, "test")[:4]
    measures, counted, refused = {}, {}, {}
    for name, config in first.items():
        try:
            module = build_module(config, dataset)
            p, q = taking(batch, module.model, module.guide)
            with seeded(0), evaluating(p, q):
                model, guide = summed_out(p, q, batch)
                model_trace, _ = traces(model, guide, batch)
                check_guide(model, guide, batch)
            measures[name] = measure_of(model_trace)
            counted[name] = sum(counted_sites(model_trace, len(batch)).values())
        except ValueError as error:
            refused[name] = error
    if refused:
        name, reason = next(iter(refused.items()))
        plus = " What only works together is joined by a plus: UniformSphere+VonMisesFisherEncoder, "
        plus = "" if "+" in name else plus + "ConvEncoder+ConvDecoder."
        others = f" Refused as well: {', '.join([*refused][1:])}." if len(refused) > 1 else ""
        raise ValueError(f"{name}: {reason}{plus}{others}") from reason
    require_one_kind(measures.items())
    if not given:
        require_same_values((name, "log p(x)", count, 0) for name, count in counted.items())
    return dataset


def train_all(configs: Configs, dataset: Data, folder: Path, chosen: Namespace) -> Trained:
    """Train and evaluate every candidate with every seed; finished runs that are there already are taken as they are.

    A candidate that fails does not take the others with it.
    """
    there = _there(configs, dataset, folder, chosen)
    if not chosen.overwrite:
        _require_their_classes(configs, there, folder)
    names = [*dict.fromkeys(name for name, _ in configs)]
    print(f"data   {dataset.protocol}")
    seeds = f"{chosen.seeds} seed{'s' * (chosen.seeds != 1)}"
    epochs = " or ".join(map(str, dict.fromkeys(config.epochs for config in configs.values())))
    print(f"runs   {len(names)} models x {seeds}, {epochs} epoch{'s' * (epochs != '1')} each\n", flush=True)
    evaluation = chosen.clone()
    evaluation.precision = "fp32"  # what was given is that of the training
    width, outcomes = max(18, *map(len, names)), dict[tuple[str, int], Outcome]()
    try:
        with contextlib.closing(_outcomes(configs, there, dataset, folder, evaluation)) as found:
            for count, (key, outcome) in enumerate(found, 1):
                outcomes[key] = outcome
                line = f"{count:3d}/{len(configs)}  {key[0]:<{width}} seed {configs[key].seed}"
                tqdm.write(f"{line}  {outcome}", file=sys.stdout)  # above a bar, if there is one
                sys.stdout.flush()
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; the same command goes on from here. What is finished can be compared with: "
            f"pyro-vae compare {folder}/runs/* --out NEW"
        ) from None
    trained = Trained()
    for key, config in configs.items():  # in their order, whichever came first
        if reason := outcomes[key].failed:
            trained.failed.setdefault(key[0], []).append(f"seed {config.seed}: {reason}")
        else:
            trained.runs.setdefault(key[0], []).append(run_folder(folder, key[0], config))
    if not trained.runs:
        raise ValueError(f"Expected a candidate that can be trained; all of them failed: {trained.failed}.")
    return trained


def _outcomes(
    configs: Configs, there: set[tuple[str, int]], dataset: Data, folder: Path, evaluation: Namespace
) -> Generator[tuple[tuple[str, int], Outcome]]:
    """What comes of each run, as it comes; with one job, in this process and in their order."""
    calls = {key: (config, evaluation, run_folder(folder, key[0], config)) for key, config in configs.items()}
    if evaluation.jobs == 1 and evaluation.backend == "loky":
        for key, call in calls.items():
            yield key, outcome_of(*call, dataset)
        return
    for key in there:
        if (earlier := finished_evaluation(calls[key][2], evaluation, dataset)) is not None:
            yield key, Outcome.of(earlier)
            del calls[key]
    shared = {key: (*call, dataset.digest) for key, call in calls.items()}
    jobs, backend = evaluation.jobs, evaluation.backend
    with (
        progress_bar(len(shared), unit="run", shown=True) as bar,
        contextlib.closing(in_processes(outcome_of, shared, jobs=jobs, backend=backend, bar=bar)) as outcomes,
    ):
        for key, outcome in outcomes:
            yield key, Outcome(failed=outcome.reason) if isinstance(outcome, Died) else outcome


def outcome_of(config: Namespace, evaluation: Namespace, run: Path, dataset: Data | str) -> Outcome:
    """Train and evaluate one run, or take what is there of it; in another process ``dataset`` is the digest of what its
    data must be. Errors of the disk alone are raised."""
    started = time.perf_counter()
    alone = not isinstance(dataset, str)
    try:
        if isinstance(dataset, str):
            dataset, digest = load_data(config), dataset
            if dataset.digest != digest:
                raise ValueError(f"Expected the data of the comparison on each machine; got others on {gethostname()}.")
        with trusting(evaluation.trust):  # which another process does not know
            fresh = evaluation.overwrite or not is_finished(run)
            if fresh:
                train_run(config, dataset, run, verbose=False, resume=not evaluation.overwrite, progress=alone)
            earlier = None if fresh else finished_evaluation(run, evaluation, dataset)
            result = earlier or _evaluated(run, evaluation, dataset, progress=alone)
    except OSError:
        raise
    except Exception as error:
        kind = "" if isinstance(error, (ValueError, ArithmeticError)) else f"{type(error).__name__}: "
        return Outcome(failed=kind + " ".join(str(error).split()))
    return Outcome.of(result, seconds=None if earlier else time.perf_counter() - started)


def _there(configs: Configs, dataset: Data, folder: Path, chosen: Namespace) -> set[tuple[str, int]]:
    """The finished runs of these settings."""
    there = set() if chosen.overwrite else {k for k, c in configs.items() if is_finished(run_folder(folder, k[0], c))}
    for key in sorted(there):
        run = run_folder(folder, key[0], configs[key])
        if (run / "settings.yaml").read_text() != dump(configs[key]):
            raise FileExistsError(
                f"Expected runs with these settings in {folder}; {run} has others. Add --overwrite to replace it, or "
                f"choose another --out."
            )
        require_same_data(run, dataset)
    return there


def _require_their_classes(configs: Configs, there: set[tuple[str, int]], folder: Path) -> None:
    """Raise a ValueError, before anything is trained, where a run cannot be loaded or gone on with for the source of
    its classes."""
    for key, config in configs.items():
        run = run_folder(folder, key[0], config)
        if key not in there:
            require_as_begun(run)
            continue
        with own_classes(run):
            pass


def _evaluated(run: Path, chosen: Namespace, dataset: Data, *, progress: bool) -> LogMarginal:
    result = evaluate_run(run, chosen, dataset, progress=progress)
    assert isinstance(result, LogMarginal)
    if bad := int((~result.log_prob.isfinite()).sum()):
        raise ValueError(f"log p(x) is not finite for {bad:,} of {len(result):,} data points")
    return result
