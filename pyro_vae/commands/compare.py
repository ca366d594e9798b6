"""Compare models on the same images; without run folders, train them first, one part of the VAE varied."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jsonargparse import Namespace

from .. import plots
from ..data import Data
from ..evidence import LogMarginal
from ..evidence import tables as report
from ..evidence.comparison import compare, require_one_kind
from ..evidence.files import read_json, write_json
from ..pairs.checks import check_guide, check_support
from ..pairs.contexts import evaluating, seeded
from ..pairs.scoring import traces
from ..runs.candidates import VARIED, candidate_parts, file_name
from ..runs.environment import environment
from ..runs.evaluations import load_evaluation
from ..runs.folder import is_finished, new_folder, require_run
from ..runs.grouping import grouped
from ..runs.loading import binarization, choose_device, command_line, load_data, load_run, random_subset, read_run
from ..runs.parser import Parser
from ..runs.parts import short_names
from ..runs.settings import DEFAULT_PARTS, dump, layer_of, over, parse_training, settings_of
from ..uses.generate import is_discrete, reconstruct, sample
from .estimators import add_evaluation_options
from .evaluate import evaluate_run, finished_evaluation
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
    add_evaluation_options(parser)
    own = {action.dest for action in parser._actions}
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
    if chosen.estimator != "importance":
        raise ValueError(f"Expected --estimator importance for a comparison; got {chosen.estimator}.")
    if chosen.runs:
        folder = new_folder(chosen.out or "comparison", overwrite=chosen.overwrite)
        kind, groups = grouped([require_run(name) for name in chosen.runs])
    else:
        kind, groups, folder = _train_all(chosen)
    evaluations = {label: [load_evaluation(run) for run in members] for label, members in groups.items()}
    abouts = [about for members in evaluations.values() for _, about in members]
    if len({about["images_sha256"] for about in abouts}) > 1:
        raise ValueError(
            "Expected runs evaluated on the same images; got different ones. Evaluate all of them with the same "
            "--data, --binarization, --data-seed, --num-images and --seed."
        )
    measures = {label: members[0][1]["measure"] for label, members in evaluations.items()}
    require_one_kind(measures)
    comparison = compare({label: [result for result, _ in members] for label, members in evaluations.items()})
    likelihoods = sorted({about["likelihood"] for about in abouts})
    lines = report.protocol_lines(comparison, protocol=abouts[0]["protocol"], likelihood=" / ".join(likelihoods))
    about = {
        "command": command_line(),
        "seconds": round(time.perf_counter() - started, 1),
        **environment(choose_device("cpu" if chosen.runs else chosen.device)),
    }
    write_json(
        folder / "comparison.json",
        {
            **report.comparison_json(comparison),
            "protocol": abouts[0]["protocol"],
            "likelihood": likelihoods,
            "runs": {label: [str(run) for run in members] for label, members in groups.items()},
            **about,
        },
    )
    table = report.comparison_table(comparison, kind=kind)
    machine = f"{about['device']}, {about['threads']} threads, {about['date']}, {about['seconds']:.0f} seconds."
    (folder / "comparison.md").write_text("\n\n".join([table, *lines, f"`{about['command']}` on {machine}"]) + "\n")
    plots.comparison_figure(comparison, title=abouts[0]["protocol"].split(";")[0]).savefig(
        folder / "comparison.png", dpi=150
    )
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


def _train_all(chosen: Namespace) -> tuple[str, dict[str, list[Path]], Path]:
    """Train and evaluate every candidate with every seed; finished runs that are there already are taken as they are.

    Returns:
        The part that varies, the runs of each candidate, and the folder of the comparison.
    """
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
    dataset = _check(configs)
    folder = Path(chosen.out or "comparison")
    if chosen.overwrite or not _is_unfinished(folder):
        new_folder(folder, overwrite=chosen.overwrite)
        write_json(folder / "comparison.json", {})  # from now on the folder is known as ours
    print(f"data   {dataset.protocol}")
    counts = [f"{n} {what}{'s' * (n != 1)}" for n, what in ((chosen.seeds, "seed"), (chosen.epochs, "epoch"))]
    print(f"runs   {len(candidates)} {part}s x {counts[0]}, {counts[1]} each\n", flush=True)
    evaluation = chosen.clone()
    evaluation.precision = "fp32"  # what was given is that of the training
    groups: dict[str, list[Path]] = {}
    width = max(18, *map(len, candidates))
    try:
        for count, ((name, _), config) in enumerate(configs.items(), 1):
            started = time.perf_counter()
            run = folder / "runs" / f"{file_name(name)}-seed{config.seed}"
            trained = is_finished(run) and (run / "settings.yaml").read_text() == dump(config)
            if not trained:
                train_run(config, dataset, run, verbose=False)
            result = finished_evaluation(run, evaluation) if trained else None
            spent = "was there" if result else ""
            result = result or _evaluated(run, evaluation, dataset)
            groups.setdefault(name, []).append(run)
            print(
                f"{count:3d}/{len(configs)}  {name:<{width}} seed {config.seed}  log p(x) {result.mean:8.2f}  smallest "
                f"ESS {result.ess.min().item():6.1f}  {spent or f'{time.perf_counter() - started:5.1f} s'}",
                flush=True,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; the same command goes on from here. What is finished can be compared with: "
            f"pyro-vae compare {folder}/runs/* --out NEW"
        ) from None
    return part, groups, folder


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
                check_support(traces(module.model, module.guide, batch)[0])
                check_guide(module.model, module.guide, batch)
            measures[name] = "probability" if is_discrete(module.model, batch) else "density"
        except ValueError as error:
            refused[name] = error
    if refused:
        name, reason = next(iter(refused.items()))
        plus = " What only works together is joined by a plus: UniformSphere+VonMisesFisherEncoder, "
        plus = "" if "+" in name else plus + "ConvEncoder+ConvDecoder."
        others = f" Refused as well: {', '.join([*refused][1:])}." if len(refused) > 1 else ""
        raise ValueError(f"{name}: {reason}{plus}{others}") from reason
    require_one_kind(measures)
    return dataset


def _is_unfinished(folder: Path) -> bool:
    path = folder / "comparison.json"
    return path.exists() and not read_json(path)


def _page(folder: Path, path: Path, *, title: str, root: str | None) -> None:
    """Samples beside reconstructions of one run; nothing for data without pictures."""
    config, about = read_run(folder)
    if len(about["event_shape"]) != 3:
        return
    module, _ = load_run(folder, choose_device("cpu"))
    dataset = load_data(config, root=root)
    images = dataset.test[random_subset(len(dataset.test), min(32, len(dataset.test)), 0)]
    _, means = sample(module.model, torch.zeros(64, *dataset.event_shape))
    rows = plots.beside(images, reconstruct(module.model, module.guide, images))
    panels = {f"{title}: samples": means, "test images, reconstructions below": rows}
    plots.image_panels(panels).savefig(path, dpi=110)
