"""pyro-vae compare"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from jsonargparse import Namespace

from .. import plots, report, runs, settings
from ..compare import compare
from ..evidence import LogMarginal
from ..generate import reconstruct, sample
from ..loading import choose_device, command_line, load_data, load_run, random_subset, read_run
from ..options import Parser, add_evaluation_options, add_training_options, part_names, train_parser
from .evaluate import evaluate_run
from .train import train_run

# Without run folders: small enough for three seeds of four priors in under three minutes on two cores.
PRIORS = ["StandardNormal", "GaussianMixture", "VampPrior", "CouplingFlow"]
DEFAULTS = {"data": "digits", "latent_dim": 8, "epochs": 60, "batch_size": 64, "kl_warmup": 10}

# Settings that do not make another model.
IGNORED = {"seed", "root", "device", "out", "overwrite", "download", "config", "tensorboard", "compile"}


def add_options(parser: Parser, arguments: Sequence[str]) -> None:
    """Options of this command; those of the parts depend on the arguments."""
    parser.add_argument(
        "runs", metavar="RUN", nargs="*", type=str, help="Evaluated run folders; none to train them now."
    )
    group = parser.add_argument_group("what to train when no run is given")
    group.add_argument("--priors", nargs="+", type=str, default=PRIORS, metavar="NAME", help="Priors to compare.")
    group.add_argument("--seeds", type=int, default=3, help="Runs of each prior, with seeds from --seed on.")
    names = part_names(arguments, network="MLP")
    add_training_options(parser, names, out="Folder of the results; by default comparison.", skip=["prior"])
    add_evaluation_options(parser)
    parser.set_defaults(DEFAULTS | ({"network.hidden": [128, 128]} if names["network"] == "MLP" else {}))


def run(chosen: Namespace) -> None:
    """Compare models on the same images; without run folders, train the same VAE under several priors first."""
    started = time.perf_counter()
    if chosen.estimator != "importance":
        raise ValueError(f"Expected --estimator importance for a comparison; got {chosen.estimator}.")
    folder = runs.new_folder(chosen.out or "comparison", overwrite=chosen.overwrite)
    try:
        trained = [runs.require_run(name) for name in chosen.runs] or _train_all(chosen, folder)
    except KeyboardInterrupt:
        print(f"\nstopped; what is finished can be compared with: pyro-vae compare {folder}/runs/* --out NEW")
        raise
    configs = [read_run(run)[0] for run in trained]
    kind, groups = _groups(trained, configs)
    evaluations = {label: [runs.load_evaluation(run) for run in members] for label, members in groups.items()}
    abouts = [about for members in evaluations.values() for _, about in members]
    if len({about["images_sha256"] for about in abouts}) > 1:
        raise ValueError(
            "Expected runs evaluated on the same images; got different ones. Evaluate all of them with the same "
            "--data, --binarization, --data-seed, --num-images and --seed."
        )
    if len({about["measure"] for about in abouts}) > 1:
        raise ValueError(
            "Expected log p(x) of one kind; got densities (Gaussian) and probabilities (DiscretizedLogistic, Bernoulli)"
            " of the same images, whose difference means nothing. Compare runs with likelihoods of one kind."
        )
    comparison = compare({label: [result for result, _ in members] for label, members in evaluations.items()})
    likelihoods = sorted({about["likelihood"] for about in abouts})
    lines = report.protocol_lines(comparison, protocol=abouts[0]["protocol"], likelihood=" / ".join(likelihoods))
    about = {
        "command": command_line(),
        "seconds": round(time.perf_counter() - started, 1),
        **runs.environment(choose_device("cpu")),
    }
    runs.write_json(
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
        _page(members[0], folder / f"{label}.png", title=label, root=chosen.root)
    print("\n" + report.comparison_table(comparison, kind=kind, style="simple") + "\n\n" + "\n".join(lines))
    pages = ", ".join(f"{label}.png" for label in groups)
    print(f"\nsaved in {folder}: comparison.md, comparison.json, comparison.png")
    print(f"       samples and reconstructions in {pages}")
    if not chosen.runs:
        print(
            "next   pyro-vae compare --data mnist --download --network GatedMLP --latent-dim 40 --out mnist\n"
            "       the same on MNIST, some hours on a CPU; one run of it is\n"
            "       pyro-vae train --data mnist --download --prior VampPrior"
        )


def _train_all(chosen: Namespace, folder: Path) -> list[Path]:
    """Train and evaluate every prior with every seed."""
    if chosen.seeds < 1:
        raise ValueError(f"Expected --seeds >= 1; got {chosen.seeds}.")
    names = {part: chosen[part].name for part in settings.PARTS if part in chosen}
    configs = []  # all of them before the first is trained, so that what is wrong with the last one shows now
    for prior, seed in itertools.product(chosen.priors, range(chosen.seed, chosen.seed + chosen.seeds)):
        parser = train_parser(names | {"prior": prior})
        given = {key: value for key, value in chosen.as_dict().items() if key in parser.get_defaults() or key in names}
        configs.append(parser.parse_object(given | {"prior": {"name": prior}, "seed": seed, "out": None}))
    dataset = load_data(chosen)
    print(f"data   {dataset.protocol}")
    print(f"runs   {len(chosen.priors)} priors x {chosen.seeds} seeds, {chosen.epochs} epochs each\n", flush=True)
    runs.write_json(folder / "comparison.json", {})  # from now on the folder is known as ours
    trained = []
    for config in configs:
        started = time.perf_counter()
        prior = config.prior.name.rpartition(".")[2]
        run = folder / "runs" / f"{prior}-seed{config.seed}"
        train_run(config, dataset, run, verbose=False)
        result = evaluate_run(run, chosen, dataset)
        assert isinstance(result, LogMarginal)
        trained.append(run)
        print(
            f"{len(trained):3d}/{len(configs)}  {prior:<18} seed {config.seed}  log p(x) {result.mean:8.2f}  "
            f"smallest ESS {result.ess.min().item():6.1f}  {time.perf_counter() - started:5.1f} s",
            flush=True,
        )
    return trained


def _groups(trained: Sequence[Path], configs: Sequence[Namespace]) -> tuple[str, dict[str, list[Path]]]:
    """What the runs differ in ("prior" or "model"), and those that differ by seed alone under one name.

    Raises:
        ValueError: the same run twice, under one folder or two: it would be counted as two seeds.
    """
    seeds: dict[tuple[str, ...], list[Path]] = {}
    names_of: dict[tuple[str, ...], dict[str, str]] = {}
    seen: dict[tuple[str, ...], Path] = {}
    for run, config in zip(trained, configs, strict=True):
        flat = {key: str(value) for key, value in vars(config.as_flat()).items() if key not in IGNORED}
        key = tuple(f"{name}={value}" for name, value in sorted(flat.items()))
        if (other := seen.setdefault((*key, f"seed={config.seed}"), run)) is not run or trained.count(run) > 1:
            raise ValueError(
                f"Expected different runs; {run} and {other} have the same settings and seed. Give one of them."
            )
        seeds.setdefault(key, []).append(run)
        names = {part: flat[f"{part}.name"] for part in settings.PARTS if f"{part}.name" in flat}
        if names.get("decoder") == "None":
            names["decoder"] = names["network"]
        names_of[key] = {part: name.rpartition(".")[2] for part, name in names.items()}
    shared = [part for part in settings.PARTS if all(part in names for names in names_of.values())]
    parts = [part for part in shared if len({names[part] for names in names_of.values()}) > 1]
    parts = parts or ["prior" if "prior" in shared else "model"]
    groups: dict[str, list[Path]] = {}
    for key, members in seeds.items():
        name = "-".join(names_of[key][part] for part in parts)
        # Two groups of the same classes differ in a number: the folder of the first run tells them apart.
        groups[f"{name}-{members[0].name}" if name in groups else name] = members
    return "prior" if parts == ["prior"] else "model", groups


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
