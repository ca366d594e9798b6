"""Train one model into a run folder: settings, weights, metrics, figures; under torchrun, processes share batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import Namespace

from ..runs.environment import few_threads
from ..runs.folder import read_about, require_run
from ..runs.loading import load_data
from ..runs.new_folder import SETTINGS, settings_to_resume
from ..runs.parser import Parser
from ..runs.parts import PARTS, build_objective
from ..runs.processes import processes
from ..runs.settings import DEFAULT_PARTS, parse_training, with_warmup
from ..runs.starting_weights import freeze
from ..training.device import choose_device
from ..training.sharing import Share
from .after_the_first import after_the_first
from .from_settings import build_module, fit_settings
from .train_run import train_run


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command; those of the parts depend on the arguments."""
    text = "Go on with the training in a run folder that was stopped or killed, with the settings it has."
    parser.add_argument("--resume", metavar="RUN", type=str | None, default=None, help=text)
    text = (
        "Go on by --resume though files of its own classes were changed since; with --init-from, import the copies of "
        "source in that run (source.*.py)."
    )
    parser.add_argument("--trust", action="store_true", help=text)
    out = "Run folder; by default runs/DATA-PARTS-seedSEED."
    return with_warmup(parse_training(parser, _resumed(arguments), out=out))


def _resumed(arguments: Sequence[str]) -> list[str]:
    """The arguments; with --resume, the settings of that run below them."""
    words = [word for each in arguments for word in (each.split("=", 1) if each.startswith("--resume=") else [each])]
    if "--resume" not in words[:-1]:
        return words
    folder = Path(words[words.index("--resume") + 1])
    if extra := {"--config", "--out", "-o", "--overwrite"} & {word.partition("=")[0] for word in words}:
        raise ValueError(f"Expected --resume without {min(extra)}: it goes on in {folder}, with its settings.")
    settings = settings_to_resume(folder) or folder / SETTINGS
    return ["--config", str(settings), "--out", str(folder), *words]


def run(chosen: Namespace) -> None:
    """Train one model."""
    folder = Path(chosen.out or f"runs/{_label(chosen)}-seed{chosen.seed}")
    with processes(choose_device(chosen.device)) as (rank, count), after_the_first(rank):
        share = Share(rank, count)
        if share.from_first(rank == 0 and chosen.resume is not None and _is_over(folder, chosen.epochs)):
            return
        dataset = load_data(chosen) if rank == 0 else None
        share.from_first(None)  # the first process has downloaded what is to be downloaded
        if dataset is None:
            _train_along(chosen)
            return
        train_run(chosen, dataset, folder, verbose=True, resume=chosen.resume is not None, num_processes=count)
    is_autoencoder = "encoder" in chosen and chosen.encoder.class_path == "PointEncoder"  # without log p(x) to evaluate
    print(f"\nsaved in {folder}\nnext   pyro-vae {'reconstruct' if is_autoencoder else 'evaluate'} {folder}")


def _train_along(config: Namespace) -> None:
    """Train as one of several processes, of which the first one writes the run folder."""
    dataset = load_data(config)
    module, objective = build_module(config, dataset), build_objective(config.objective.as_dict())
    freeze(module, config.freeze)  # the weights to begin with come from the first process
    with few_threads(module):
        device = choose_device(config.device)
        fit_settings(config, module, objective, dataset, device, on_step=None, progress=False, distributed=True)


def _label(config: Namespace) -> str:
    """Data, then the prior (or the model, if it has none) and all other classes that are not the default ones."""
    names = {part: config[part].class_path for part in PARTS if part in config}
    shown = [name for part, name in names.items() if part == "prior" or name != DEFAULT_PARTS.get(part)]
    return "-".join([Path(config.data).stem, *[name.rpartition(".")[2] for name in shown]])


def _is_over(folder: Path, epochs: int) -> bool:
    """Whether a training has come to its end, with so many epochs or more; says so."""
    settings = settings_to_resume(folder)
    if settings not in (None, folder / SETTINGS) or not (folder / "run.json").exists():
        return False
    about = read_about(folder)
    if not about["finished"]:
        return False
    require_run(folder)  # what is damaged or was edited: nothing is trained in its place unasked
    if epochs > about["epochs_asked_for"]:
        if settings is not None:
            return False
        raise ValueError(
            f"Expected a checkpoint in {folder}, to go on from to {epochs} epochs; got a run that is finished, without "
            f"one: --keep-checkpoint leaves it. Train anew with another --out."
        )
    early = "" if about["epochs"] == about["epochs_asked_for"] else ", where it stopped early"
    print(f"The training in {folder} was finished after {about['epochs']} epochs{early}: there is nothing to do.")
    return True
