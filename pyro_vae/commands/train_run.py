"""One training, from settings to a run folder: what is written, and what is kept when it is stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from .. import plots
from ..data import Data
from ..disk.writing import save_figure, write_text
from ..networks import count_parameters
from ..runs.environment import environment, few_threads
from ..runs.evaluations import what_resuming_removes
from ..runs.folder import append_metrics, reserve_space, save_weights, title_of, write_about, write_metrics
from ..runs.loading import command_line
from ..runs.named_inputs import NamedInputs
from ..runs.new_folder import SETTINGS, UNFINISHED, checkpointed, new_run
from ..runs.own_classes import copy_sources, require_as_begun, sources_of
from ..runs.parts import PARTS, build_objective
from ..runs.settings import dump
from ..runs.starting_weights import freeze, start_from
from ..training.checkpoint_files import saved_epochs, saved_history
from ..training.device import choose_device
from ..training.epoch import OnStep
from ..training.fitted import Fit, Metrics
from ..training.nonfinite import NonFiniteLoss
from ..training.sharing import LostProcess
from .from_settings import build_module, fit_settings
from .process import stop_undisturbed, uninterrupted


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

    A run that is there already is replaced when the new one is whole, and not before; with ``resume`` it goes on from
    its checkpoint, if there is one. This is the first of the processes that share its batches.
    """
    if resume:
        require_as_begun(folder)
    device = choose_device(config.device)
    module, objective = build_module(config, dataset), build_objective(config.objective.as_dict())
    start = None
    if config.init_from is not None and not (resume and checkpointed(folder)):  # which has the weights
        start = start_from(config.init_from, module, needed=config.freeze, named=NamedInputs.of_data(config, dataset))
    num_frozen = freeze(module, config.freeze)
    if verbose:
        described = ", ".join(config[part].class_path for part in PARTS if part in config)
        if any(getattr(part, "exposure", False) is True for part in module.modules()):
            described += ", the last value of x as exposure"
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
        try:
            result = so_far = fit_settings(
                *(config, module, objective, dataset, device),
                on_step=_recorder(unfinished, config, done),
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
                about = _about(config, module, dataset, so_far, finished=result is not None)
                # Of a training that goes on, from a checkpoint, it is not known with which weights it began.
                about |= {"num_frozen": num_frozen, "init_from": None if start is None else dataclasses.asdict(start)}
                about |= {"processes": num_processes}
                over = "over" if result is not None else "stopped"
                with uninterrupted(f"interrupted; the training in {folder} was {over}, and is saved"):
                    _save(unfinished, config, module, so_far, about | environment(device), name=folder.name)
    if verbose:
        _say_best(result)


def _stopped(folder: Path, so_far: Fit | None) -> str:
    """What an interrupt has left, and how to go on."""
    saved = saved_epochs(folder / UNFINISHED)
    text = "stopped in the first epoch: nothing to keep"
    if so_far is not None and so_far.history:
        text = f"stopped; the best state so far is kept in {_place(folder)}"
    elif saved:
        text = f"stopped before another epoch was over; what there was after epoch {saved[-1]} is kept"
    return f"{text}. Go on with: pyro-vae train --resume {folder}" if saved else text


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
    save_weights(folder, module, result.state)
    with warned("the metrics"):
        write_metrics(folder, result.history)
    write_text(folder / SETTINGS, dump(config))
    write_about(folder, about)
    with warned("the figure"):
        best, title = about["best_epoch"], title_of(folder, name=name)
        figure = plots.training_curves(result.history, best_epoch=best, title=title)
        save_figure(figure, folder / "training.png")


def _about(config: Namespace, module: Any, dataset: Data, result: Fit, *, finished: bool) -> dict[str, Any]:
    """What a run saw and reached, one that was stopped, too; without a finite validation loss no epoch is best."""
    history = result.history
    best = history[result.best_epoch - 1] if result.best_epoch else {}
    return {
        "protocol": dataset.protocol,
        "data_sha256": dataset.digest,
        "event_shape": list(dataset.event_shape),
        **({} if dataset.columns is None else {"columns": list(dataset.columns)}),
        "categories": {array: list(names) for array, names in dataset.categories.items()},
        "num_train": len(dataset.train),
        "num_parameters": count_parameters(module),
        "finished": finished,
        "keeps_checkpoint": config.keep_checkpoint,
        "epochs": len(history),
        "epochs_asked_for": config.epochs,
        "warmed_up": result.warmed_up,
        "kl_weight": history[-1]["kl_weight"],
        "best_epoch": result.best_epoch or None,
        **{f"best_{name}": best.get(name) for name in ("validation_elbo", "validation_rate", "validation_distortion")},
        "seconds": round(sum(metrics["seconds"] for metrics in history), 1),
        "command": command_line(),
        "working_directory": str(Path.cwd()),
        "sources": sources_of(config[part].class_path for part in PARTS if part in config),
    }


def _say_best(result: Fit) -> None:
    best = result.history[result.best_epoch - 1]
    stopped = "stopped early" if result.stopped_early else "all epochs done"
    elbo, rate, distortion = (best[f"validation_{name}"] for name in ("elbo", "rate", "distortion"))
    epoch = f"epoch {result.best_epoch} of {len(result.history)} ({stopped})"
    print(
        f"best   {epoch}: validation ELBO {elbo:.2f} nats per data point (rate {rate:.2f}, distortion {distortion:.2f})"
    )
    if rate < 0.5 and rate != 0:  # an autoencoder has no rate, exactly 0
        cure = "Train longer, with smaller batches, or with --kl-warmup"
        print(f"note   a rate of {rate:.2f} nats: the latents hardly matter yet. {cure}")


@contextlib.contextmanager
def warned(what: str) -> Iterator[None]:
    """Errors of the disk as a warning: the weights are worth more than what is written here."""
    try:
        yield
    except OSError as error:
        warnings.warn(f"The run is kept without {what}: {error}", stacklevel=3)


def _recorder(folder: Path, config: Namespace, history: Sequence[Metrics]) -> OnStep:
    """What writes each epoch's metrics to the run, below those of the epochs before; and, at the first epoch's end, the
    settings: not before it is known that they suit a checkpoint."""
    settings = [dump(config)]
    if history:
        write_metrics(folder, history)

    def record(step: int, metrics: Metrics) -> None:
        if "epoch" not in metrics:
            return
        with contextlib.suppress(OSError):  # a full disk: all lines are written again at the end
            if settings:
                write_text(folder / SETTINGS, settings[0])
                settings.clear()
            append_metrics(folder, metrics)

    return record
