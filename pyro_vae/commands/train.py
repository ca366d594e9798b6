"""Train one model into a run folder: settings, weights, metrics, figures; under torchrun, processes share batches."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from pyro.infer import ELBO
from torch.distributions.constraints import Constraint

from .. import plots
from ..data import Data
from ..disk.writing import save_figure, write_text
from ..networks import count_parameters
from ..objectives.kl_weights import KLWarmup
from ..pairs.checks import check_values
from ..pairs.contexts import seeded
from ..runs.environment import environment, few_threads
from ..runs.evaluations import what_resuming_removes
from ..runs.folder import (
    append_metrics,
    is_finished,
    read_about,
    reserve_space,
    save_weights,
    title_of,
    write_about,
    write_metrics,
)
from ..runs.loading import build_model, check_inputs, command_line, load_data
from ..runs.loose_params import save_params
from ..runs.new_folder import SETTINGS, UNFINISHED, new_run, settings_to_resume
from ..runs.own_classes import copy_sources, sources_of
from ..runs.parser import Parser
from ..runs.parts import PARTS, build_objective
from ..runs.processes import processes
from ..runs.settings import DEFAULT_PARTS, dump, fixed, parse_training, with_warmup
from ..runs.starting_weights import Start, freeze, start_from
from ..training.checkpoint import Checkpoint, saved_epochs, saved_history
from ..training.device import choose_device
from ..training.epoch import OnStep
from ..training.fit import fit
from ..training.fitted import Fit, Metrics
from ..training.nonfinite import NonFiniteLoss
from ..training.optimizer import adam
from ..training.sharing import LostProcess, Share
from .after_the_first import after_the_first
from .process import stop_undisturbed


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command; those of the parts depend on the arguments."""
    text = "Go on with the training in a run folder that was stopped or killed, with the settings it has."
    parser.add_argument("--resume", metavar="RUN", type=str | None, default=None, help=text)
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


def build_module(config: Namespace, dataset: Data) -> Any:
    """The model of the settings, ready to be trained.

    Raises:
        ValueError: a part refuses its arguments, or the likelihood the data.
    """
    with seeded(config.seed):
        train = dataset.train if dataset.batch_transform is None else dataset.batch_transform(dataset.train)
    module = build_model(
        config,
        event_shape=dataset.event_shape,
        mean=dataset.mean,
        pseudo_inputs=train.where(~train.isnan(), dataset.mean) if dataset.missing else train.clone(),
    )
    check_inputs(module, dataset)
    if isinstance(support := getattr(getattr(module, "likelihood", None), "support", None), Constraint):
        for part in (train, dataset.validation, dataset.test):
            check_values("x", support, part)
    return module


def _is_over(folder: Path, epochs: int) -> bool:
    """Whether a training has come to its end, with so many epochs or more; says so."""
    settings = settings_to_resume(folder)
    if settings not in (None, folder / SETTINGS) or not is_finished(folder):
        return False
    about = read_about(folder)
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


def train_run(
    config: Namespace,
    dataset: Data,
    folder: Path,
    *,
    verbose: bool,
    resume: bool = False,
    progress: bool = True,
    num_processes: int = 1,
) -> None:
    """Train the model of the settings and write its run folder; after an interrupt, with its best state so far.

    A run that is there already is replaced when the new one is whole, and not before.

    Args:
        verbose: whether lines tell of it.
        resume: go on from a checkpoint of it, if there is one.
        progress: whether it is shown.
        num_processes: that share its batches, of which this is the first.
    """
    device = choose_device(config.device)
    module, objective = build_module(config, dataset), build_objective(config.objective.as_dict())
    start = None
    if config.init_from is not None and not (resume and _has_checkpoint(folder)):  # which has the weights
        start = start_from(config.init_from, module, needed=config.freeze)
    num_frozen = freeze(module, config.freeze)
    if verbose:
        described = ", ".join(config[part].class_path for part in PARTS if part in config)
        print(f"data   {dataset.protocol}")
        frozen = f" and {num_frozen:,} frozen ones" if num_frozen else ""
        where = device if num_processes == 1 else f"{device}, in {num_processes} processes"
        print(f"model  {described}: {count_parameters(module):,} parameters{frozen}, on {where}")
        if start is not None:
            print(f"start  {start}")
    result = so_far = None
    with new_run(folder, overwrite=config.overwrite, resume=resume) as unfinished, few_threads(module):
        done = saved_history(unfinished)
        if not done:
            write_text(unfinished / SETTINGS, dump(config))
        if verbose and resume:
            going_on = f"after epoch {len(done)} of {config.epochs}" if done else "from the start: no checkpoint"
            print(f"resume {going_on}{what_resuming_removes(folder)}")
        copy_sources(unfinished, [config[part].class_path for part in PARTS if part in config])
        reserve_space(unfinished, module)
        recorder = _Recorder(unfinished, config, done)
        try:
            result = so_far = fit_settings(
                *(config, module, objective, dataset, device),
                on_step=recorder,
                folder=unfinished,
                progress=progress,
                distributed=num_processes > 1,
            )
        except BaseException as error:
            if isinstance(error, LostProcess):
                stop_undisturbed()
            so_far = getattr(error, "fit", None)
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(_stopped(folder, so_far)) from None
            if isinstance(error, NonFiniteLoss):
                raise NonFiniteLoss(f"{error} {_kept(folder, so_far)}") from error
            if isinstance(error, LostProcess):
                raise LostProcess(f"{error} This one {_stopped(folder, so_far)}") from None
            raise
        finally:  # also after an interrupt or an error: the module holds its best state
            if so_far is not None and so_far.history:
                about = _about(config, module, dataset, so_far, finished=result is not None) | _began(start, num_frozen)
                about |= {"processes": num_processes}
                _save(unfinished, config, module, so_far, about | environment(device), name=folder.name)
    if verbose:
        _say_best(result)


def _has_checkpoint(folder: Path) -> bool:
    return bool(saved_epochs(folder / UNFINISHED) or saved_epochs(folder))


def _began(start: Start | None, num_frozen: int) -> dict[str, Any]:
    """With which weights a training began, and how many of them it left alone; that of one that goes on, from a
    checkpoint, is not known."""
    return {"num_frozen": num_frozen, "init_from": None if start is None else dataclasses.asdict(start)}


def _stopped(folder: Path, so_far: Fit | None) -> str:
    """What an interrupt has left, and how to go on."""
    text = "stopped in the first epoch: nothing to keep"
    if so_far is not None and so_far.history:
        text = f"stopped; the best state so far is kept in {_place(folder)}"
    return f"{text}. Go on with: pyro-vae train --resume {folder}" if saved_epochs(folder / UNFINISHED) else text


def _kept(folder: Path, so_far: Fit | None) -> str:
    """What a training has left whose loss is not finite."""
    if so_far is None or not so_far.best_epoch:
        return "It was so in the first epoch: there is no run to keep."
    state = f"The state after epoch {so_far.best_epoch}, the best one of {len(so_far.history)}, is kept"
    return f"{state} in {_place(folder)}, as a run that is not finished."


def _place(folder: Path) -> str:
    """Where a training that did not come to its end leaves its run."""
    stays = f"{folder / UNFINISHED}; the run in {folder} stays as it was"
    return stays if (folder / "run.json").exists() else str(folder)


def _save(folder: Path, config: Namespace, module: Any, result: Fit, about: dict[str, Any], *, name: str) -> None:
    """Write what came of a training; its module holds the best state."""
    save_weights(folder, module)
    save_params(folder, result.state)
    with warned("the metrics"):
        write_metrics(folder, result.history)
    write_text(folder / SETTINGS, dump(config))
    write_about(folder, about)
    with warned("the figure"):
        best = result.best_epoch if about["finished"] else None
        figure = plots.training_curves(result.history, best_epoch=best, title=title_of(folder, name=name))
        save_figure(figure, folder / "training.png")


def fit_settings(
    config: Namespace,
    module: Any,
    objective: ELBO,
    dataset: Data,
    device: torch.device,
    *,
    on_step: OnStep | None,
    folder: Path | None = None,
    progress: bool = True,
    distributed: bool = False,
) -> Fit:
    """Train a model as the settings say.

    Args:
        on_step: called after each step.
        folder: for checkpoints and, if the settings ask for it, TensorBoard; None for neither.
        progress: whether it is shown.
        distributed: whether several processes share the batches.
    """
    total_steps = config.epochs * math.ceil(len(dataset.train) / config.batch_size)
    decay = functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=total_steps)
    return fit(
        module.model,
        module.guide,
        dataset,
        objective=objective,
        optimizer=adam(config.learning_rate),
        scheduler=decay if config.learning_rate_decay == "cosine" else None,
        clip_norm=config.clip_norm,
        epochs=config.epochs,
        batch_size=config.batch_size,
        kl_weight=KLWarmup(epochs=config.kl_warmup, weight=config.kl_weight),
        patience=config.patience,
        compile=config.compile,
        precision=config.precision,
        device=device,
        seed=config.seed,
        progress=progress,
        on_step=on_step,
        tensorboard=folder / "tensorboard" if folder and config.tensorboard else None,
        checkpoint=Checkpoint(folder, config.checkpoint_minutes, keep=True, settings=fixed(config)) if folder else None,
        distributed=distributed,
    )


def _about(config: Namespace, module: Any, dataset: Data, result: Fit, *, finished: bool) -> dict[str, Any]:
    """What a run saw and reached; of one that was interrupted, the best epoch is not known."""
    history = result.history
    best = history[result.best_epoch - 1] if finished else {}
    return {
        "protocol": dataset.protocol,
        "data_sha256": dataset.digest,
        "event_shape": list(dataset.event_shape),
        "num_train": len(dataset.train),
        "num_parameters": count_parameters(module),
        "finished": finished,
        "keeps_checkpoint": config.keep_checkpoint,
        "epochs": len(history),
        "epochs_asked_for": config.epochs,
        "warmed_up": result.warmed_up,
        "kl_weight": history[-1]["kl_weight"],
        "best_epoch": result.best_epoch if finished else None,
        **{f"best_{name}": best.get(name) for name in ("validation_elbo", "validation_rate", "validation_distortion")},
        "seconds": round(sum(metrics["seconds"] for metrics in history), 1),
        "command": command_line(),
        "working_directory": str(Path.cwd()),
        "sources": sources_of(config[part].class_path for part in PARTS if part in config),
    }


def _say_best(result: Fit) -> None:
    best = result.history[result.best_epoch - 1]
    stopped = "stopped early" if result.stopped_early else "all epochs done"
    print(
        f"best   epoch {result.best_epoch} of {len(result.history)} ({stopped}): validation ELBO "
        f"{best['validation_elbo']:.2f} nats per data point (rate {best['validation_rate']:.2f}, distortion "
        f"{best['validation_distortion']:.2f})"
    )
    if best["validation_rate"] < 0.5 and best["validation_rate"] != 0:  # an autoencoder has no rate, exactly 0
        print(
            f"note   a rate of {best['validation_rate']:.2f} nats: the latents hardly matter yet. Train longer, "
            f"with smaller batches, or with --kl-warmup"
        )


@contextlib.contextmanager
def warned(what: str) -> Iterator[None]:
    """Errors of the disk as a warning: the weights are worth more than what is written here."""
    try:
        yield
    except OSError as error:
        warnings.warn(f"The run is kept without {what}: {error}", stacklevel=3)


class _Recorder:
    """Writes each epoch's metrics to the run.

    Args:
        folder: to write to.
        config: the settings, written at the first epoch's end: not before it is known that they suit a checkpoint.
        history: of the epochs before, where a training goes on.
    """

    def __init__(self, folder: Path, config: Namespace, history: Sequence[Metrics]) -> None:
        self.folder = folder
        self.settings: str | None = dump(config)
        if history:
            write_metrics(folder, history)

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        if "epoch" not in metrics:
            return
        with contextlib.suppress(OSError):  # a full disk: all lines are written again at the end
            if self.settings is not None:
                write_text(self.folder / SETTINGS, self.settings)
                self.settings = None
            append_metrics(self.folder, metrics)
