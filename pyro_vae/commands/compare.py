"""Compare models on the same data; without run folders, train them first, one part of the VAE varied."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jsonargparse import Namespace

from .. import plots
from ..data import Data
from ..disk.json_files import write_json
from ..disk.writing import save_figure, write_text
from ..evidence import LogMarginal
from ..evidence import tables as report
from ..evidence.comparison import compare, require_one_kind
from ..evidence.measure import measure_of
from ..pairs.contexts import evaluating, seeded
from ..pairs.densities import check_guide
from ..pairs.scoring import traces
from ..runs.candidates import VARIED, candidate_parts, file_name
from ..runs.environment import environment
from ..runs.estimators import ESTIMATORS
from ..runs.evaluations import load_evaluation
from ..runs.folder import is_finished, read_about, require_run, require_same_data
from ..runs.grouping import grouped
from ..runs.loading import binarization, command_line, data_of, load_data, load_run, random_subset
from ..runs.new_folder import claimed
from ..runs.parser import Parser
from ..runs.parts import short_names
from ..runs.settings import DEFAULT_PARTS, dump, layer_of, over, parse_training, settings_of
from ..training.device import choose_device
from ..uses.generate import reconstruct, sample
from .evaluate import evaluate_run, finished_evaluation
from .evaluation import add_evaluation_options
from .train import build_module, train_run

# Without run folders: small enough for three seeds of four priors in under three minutes on two cores.
PRIORS = ["StandardNormal", "GaussianMixture", "VampPrior", "CouplingFlow"]
DEFAULTS = (
    {**DEFAULT_PARTS, "network": "MLP"},
    {"data": "digits", "latent_dim": 8, "epochs": 60, "batch_size": 64, "kl_warmup": 30, "network.hidden": [128, 128]},
)
MOST_PAIRS = 10  # on the terminal: of more, the differences to the best


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command; those of the parts depend on the arguments."""
    parser.add_argument(
        "runs", metavar="RUN", nargs="*", type=str, help="Evaluated run folders; none to train them now."
    )
    add = parser.add_argument_group(
        "what to train when no run is given: candidates for one of the parts, the others fixed",
        "A candidate is NAME or import.path.NAME, with arguments as in GaussianMixture:num_components=50,"
        "covariance=full, else with the defaults of its class. What only works together is joined by a plus: "
        "UniformSphere+VonMisesFisherEncoder, ConvEncoder+ConvDecoder. An interrupted comparison goes on where it "
        "stopped when the same command is given again.",
    ).add_argument
    for option, part in VARIED.items():
        default = f"; by default {' '.join(PRIORS)}" if option == "priors" else ""
        known = ", ".join(short_names(part))
        add(f"--{option}", nargs="+", type=str, metavar="CANDIDATE", help=f"From {known}{default}.")
    add("--seeds", type=int, default=3, help="Runs of each candidate, with seeds from --seed on.")
    add_evaluation_options(parser, arguments, without=["precision"])  # which is that of the training here
    own = parser.names()
    chosen = parse_training(parser, arguments, out="Folder of the results; by default comparison.", defaults=DEFAULTS)
    if fixed := [word for word in arguments if re.match(rf"--{_varied(chosen)[0]}\b(?!-)", word)]:
        raise ValueError(f"Expected candidates for the {_varied(chosen)[0]}; got {fixed[0]}, which fixes it.")
    chosen.training = Namespace({key: value for key, value in vars(chosen).items() if key not in own})
    return chosen


def _varied(chosen: Namespace) -> tuple[str, list[str]]:
    """The part to compare, and its candidates."""
    given = [option for option in VARIED if chosen[option]]
    if len(given) > 1:
        options = " and ".join(f"--{option}" for option in given)
        raise ValueError(f"Expected candidates for one part; got {options}. Fix the others, as with --encoder IAF.")
    return (VARIED[given[0]], chosen[given[0]]) if given else ("prior", PRIORS)


def run(chosen: Namespace) -> None:
    """Compare the runs."""
    started = time.perf_counter()
    if (estimator := ESTIMATORS[chosen.estimator]).kind is not LogMarginal:
        of_one = " or ".join(name for name, each in ESTIMATORS.items() if each.kind is LogMarginal)
        raise ValueError(f"Expected --estimator {of_one} for a comparison; got {estimator.name}.")
    out = Path(chosen.out or "comparison")
    if chosen.runs:
        kind, groups = grouped([require_run(name) for name in chosen.runs])
        with claimed(out, "comparison", overwrite=chosen.overwrite) as folder:
            _compare(kind, groups, folder, chosen, started)
        return
    kind, configs = _candidates(chosen)
    dataset = _check(configs)
    with claimed(out, "comparison", overwrite=chosen.overwrite) as folder:
        groups = _train_all(kind, configs, dataset, folder, chosen)
        _compare(kind, groups, folder, chosen, started)


def _compare(kind: str, groups: Mapping[str, list[Path]], folder: Path, chosen: Namespace, started: float) -> None:
    """Compare evaluated runs, given by the names of their models, and write the results into the folder."""
    name = ESTIMATORS[chosen.estimator].file
    evaluations = {label: [load_evaluation(run, name) for run in members] for label, members in groups.items()}
    abouts = [about for members in evaluations.values() for _, about in members]
    if len({about["images_sha256"] for about in abouts}) > 1:
        raise ValueError(
            "Expected runs evaluated on the same data; got different ones. Evaluate all of them with the same "
            "--data, --binarization, --data-seed, --num-images and --seed."
        )
    comparison = compare({label: [result for result, _ in members] for label, members in evaluations.items()})
    likelihoods = sorted({about["likelihood"] for about in abouts})
    lines = report.protocol_lines(comparison, protocol=abouts[0]["protocol"], likelihood=" / ".join(likelihoods))
    lines += _unfinished(groups)
    about = {
        "command": command_line(),
        "seconds": round(time.perf_counter() - started, 1),
        **environment(choose_device("cpu" if chosen.runs else chosen.device)),
    }
    table = report.comparison_table(comparison, kind=kind)
    machine = f"{about['device']}, {about['threads']} threads, {about['date']}, {about['seconds']:.0f} seconds."
    write_text(folder / "comparison.md", "\n\n".join([table, *lines, f"`{about['command']}` on {machine}"]) + "\n")
    figure = plots.comparison_figure(comparison, title=abouts[0]["protocol"].split(";")[0])
    save_figure(figure, folder / "comparison.png")
    content = {
        **report.comparison_json(comparison),
        "protocol": abouts[0]["protocol"],
        "likelihood": likelihoods,
        "runs": {label: [str(run) for run in members] for label, members in groups.items()},
        **about,
    }
    write_json(folder / "comparison.json", content, kind="comparison")  # the last: with it the comparison is there
    for label, members in groups.items():
        _page(members[0], folder / f"{file_name(label)}.png", title=label, root=chosen.root)
    table = report.comparison_table(comparison, kind=kind, style="simple", most_pairs=MOST_PAIRS)
    print("\n" + table + "\n\n" + "\n".join(lines))
    pages = ", ".join(f"{file_name(label)}.png" for label in groups)
    count = len(comparison.differences)
    pairs = f" (all {count} paired differences)" if count > MOST_PAIRS else ""
    print(f"\nsaved in {folder}: comparison.md{pairs}, comparison.json, comparison.png")
    print(f"       samples and reconstructions in {pages}")
    if not chosen.runs and kind == "prior" and chosen.data == "digits":  # the first look
        print(
            "next   pyro-vae compare --data mnist --download --network GatedMLP --latent-dim 40 --out mnist\n"
            "       the same on MNIST, some hours on a CPU; one run of it is\n"
            "       pyro-vae train --data mnist --download --prior VampPrior"
        )


def _unfinished(groups: Mapping[str, list[Path]]) -> list[str]:
    """A line about runs that were stopped before the end of their training, if there are any."""
    abouts = {run: read_about(run) for members in groups.values() for run in members}
    stopped = [
        f"{run} after {a['epochs']} of {a['epochs_asked_for']} epochs" for run, a in abouts.items() if not a["finished"]
    ]
    return [f"Not trained to the end: {', '.join(stopped)}."] if stopped else []


def _candidates(chosen: Namespace) -> tuple[str, dict[tuple[str, int], Namespace]]:
    """The part that varies, and the settings of each candidate with each seed."""
    if chosen.seeds < 1:
        raise ValueError(f"Expected --seeds >= 1; got {chosen.seeds}.")
    part, candidates = _varied(chosen)
    configs = {  # one seed of each before the next: an interrupted comparison holds all of them
        (name, s): _config(chosen.training, name, part, chosen.seed + s)
        for s in range(chosen.seeds)
        for name in candidates
    }
    if len(configs) < len(candidates) * chosen.seeds or len(set(map(dump, configs.values()))) < len(configs):
        raise ValueError(f"Expected different candidates; got two that are the same among {', '.join(candidates)}.")
    return part, configs


def _train_all(
    part: str, configs: Mapping[tuple[str, int], Namespace], dataset: Data, folder: Path, chosen: Namespace
) -> dict[str, list[Path]]:
    """Train and evaluate every candidate with every seed; finished runs that are there already are taken as they are.

    Returns:
        The runs of each candidate.

    Raises:
        FileExistsError: a finished run of other settings is in the place of one, and not to be overwritten.
    """
    runs = {key: folder / "runs" / f"{file_name(key[0])}-seed{config.seed}" for key, config in configs.items()}
    there = [] if chosen.overwrite else [key for key, run in runs.items() if is_finished(run)]
    for key in there:
        if (runs[key] / "settings.yaml").read_text() != dump(configs[key]):
            raise FileExistsError(
                f"Expected runs with these settings in {folder}; {runs[key]} has others. Add --overwrite to replace "
                f"it, or choose another --out."
            )
        require_same_data(runs[key], dataset)
    candidates = [*dict.fromkeys(name for name, _ in configs)]
    print(f"data   {dataset.protocol}")
    counts = [f"{n} {what}{'s' * (n != 1)}" for n, what in ((chosen.seeds, "seed"), (chosen.epochs, "epoch"))]
    print(f"runs   {len(candidates)} {part}s x {counts[0]}, {counts[1]} each\n", flush=True)
    evaluation = chosen.clone()
    evaluation.precision = "fp32"  # what was given is that of the training
    groups: dict[str, list[Path]] = {}
    width = max(18, *map(len, candidates))
    try:
        for count, (key, config) in enumerate(configs.items(), 1):
            started = time.perf_counter()
            name, run = key[0], runs[key]
            if key not in there:
                train_run(config, dataset, run, verbose=False, resume=not chosen.overwrite)
            result = finished_evaluation(run, evaluation) if key in there else None
            spent = "was there" if result else ""
            result = result or _evaluated(run, evaluation, dataset)
            groups.setdefault(name, []).append(run)
            print(
                f"{count:3d}/{len(configs)}  {name:<{width}} seed {config.seed}  log p(x) {result.mean.value:8.2f}  "
                f"smallest ESS {result.ess.min().item():6.1f}  {spent or f'{time.perf_counter() - started:5.1f} s'}",
                flush=True,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; the same command goes on from here. What is finished can be compared with: "
            f"pyro-vae compare {folder}/runs/* --out NEW"
        ) from None
    return groups


def _evaluated(run: Path, chosen: Namespace, dataset: Data) -> LogMarginal:
    result = evaluate_run(run, chosen, dataset)
    assert isinstance(result, LogMarginal)
    return result


def _config(training: Namespace, candidate: str, part: str, seed: int) -> Namespace:
    """The settings of one run, as ``pyro-vae train`` would have them."""
    varied = candidate_parts(candidate, part)
    names, values = over(over(({**DEFAULT_PARTS}, {}), layer_of(training)), varied)
    config = settings_of((names, {**values, "seed": seed}), given=varied[0])
    config.overwrite = True
    config.checkpoint_minutes, config.keep_checkpoint = training.checkpoint_minutes, training.keep_checkpoint
    return config


def _check(configs: Mapping[tuple[str, int], Namespace]) -> Data:
    """Try each candidate on one batch, so that what is wrong with any shows before the first is trained.

    Returns:
        The data of all of them.
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
    batch = dataset.test[:4]
    measures, refused = {}, {}
    for name, config in first.items():
        try:
            module = build_module(config, dataset)
            with seeded(0), evaluating(module.model, module.guide):
                model_trace, _ = traces(module.model, module.guide, batch)
                check_guide(module.model, module.guide, batch)
            measures[name] = measure_of(model_trace)
        except ValueError as error:
            refused[name] = error
    if refused:
        name, reason = next(iter(refused.items()))
        plus = " What only works together is joined by a plus: UniformSphere+VonMisesFisherEncoder, "
        plus = "" if "+" in name else plus + "ConvEncoder+ConvDecoder."
        others = f" Refused as well: {', '.join([*refused][1:])}." if len(refused) > 1 else ""
        raise ValueError(f"{name}: {reason}{plus}{others}") from reason
    require_one_kind(measures.items())
    return dataset


def _page(folder: Path, path: Path, *, title: str, root: str | None) -> None:
    """Samples beside reconstructions of one run; nothing for data without pictures."""
    if len(read_about(folder)["event_shape"]) != 3:
        return
    module, _ = load_run(folder, choose_device("cpu"))
    dataset = data_of(folder, root=root)
    images = dataset.test[random_subset(len(dataset.test), min(32, len(dataset.test)), 0)]
    try:
        _, means = sample(module.model, torch.zeros(64, *dataset.event_shape))
        rows = plots.beside(images, reconstruct(module.model, module.guide, images))
    except ValueError as error:  # a model that can be evaluated, not drawn from
        print(f"no pictures of {title}: {error}")
        return
    panels = {f"{title}: samples": means, "test images, reconstructions below": rows}
    save_figure(plots.image_panels(panels), path, dpi=110)
