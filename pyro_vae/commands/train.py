"""Train one model; writes a run folder with settings, weights, metrics and figures."""

from __future__ import annotations

import contextlib
import functools
import math
import sys
import time
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
from ..runs.folder import append_metrics, reserve_space, save_weights, title_of, write_about, write_metrics
from ..runs.loading import build_model, command_line, load_data
from ..runs.loose_params import save_params
from ..runs.new_folder import new_run
from ..runs.own_classes import copy_sources
from ..runs.parser import Parser
from ..runs.parts import PARTS, build_objective
from ..runs.settings import DEFAULT_PARTS, dump, parse_training, with_warmup
from ..training.device import choose_device
from ..training.fit import fit
from ..training.fitted import Fit, Metrics
from ..training.optimizer import adam


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command; those of the parts depend on the arguments."""
    return with_warmup(parse_training(parser, arguments, out="Run folder; by default runs/DATA-PARTS-seedSEED."))


def run(chosen: Namespace) -> None:
    """Train one model."""
    folder = Path(chosen.out or f"runs/{_label(chosen)}-seed{chosen.seed}")
    dataset = load_data(chosen)
    print(f"data   {dataset.protocol}")
    train_run(chosen, dataset, folder, verbose=True)
    is_autoencoder = "encoder" in chosen and chosen.encoder.class_path == "PointEncoder"  # without log p(x) to evaluate
    print(f"\nsaved in {folder}\nnext   pyro-vae {'reconstruct' if is_autoencoder else 'evaluate'} {folder}")


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
    if isinstance(support := getattr(getattr(module, "likelihood", None), "support", None), Constraint):
        for part in (train, dataset.validation, dataset.test):
            check_values("x", support, part)
    return module


def train_run(config: Namespace, dataset: Data, folder: Path, *, verbose: bool) -> None:
    """Train the model of the settings and write its run folder; after an interrupt, with its best state so far.

    A run that is there already is replaced when the new one is whole, and not before.
    """
    device = choose_device(config.device)
    module, objective = build_module(config, dataset), build_objective(config.objective.as_dict())
    if verbose:
        described = ", ".join(config[part].class_path for part in PARTS if part in config)
        print(f"model  {described}: {count_parameters(module):,} parameters, on {device}")
    result = None
    with new_run(folder, overwrite=config.overwrite) as unfinished, few_threads(module):
        write_text(unfinished / "settings.yaml", dump(config))
        copy_sources(unfinished, [config[part].class_path for part in PARTS if part in config])
        reserve_space(unfinished, module)
        recorder = _Recorder(unfinished, config.epochs, loud=verbose and not sys.stderr.isatty())
        try:
            result = _fit(config, module, objective, dataset, device, unfinished, recorder)
        except KeyboardInterrupt:
            kept = f"{unfinished}; the run in {folder} stays as it was" if (folder / "run.json").exists() else folder
            kept = f"stopped; the best state so far is kept in {kept}"
            text = kept if recorder.history else "stopped in the first epoch: nothing to keep"
            raise KeyboardInterrupt(text) from None
        finally:  # also after an interrupt or an error: the module holds its best state
            if history := recorder.history if result is None else result.history:
                save_weights(unfinished, module)
                if result is not None:
                    save_params(unfinished, result.state)
                with warned("the metrics"):
                    write_metrics(unfinished, history)
                write_about(unfinished, _about(config, module, dataset, history, result) | environment(device))
                with warned("the figure"):
                    title, best = title_of(unfinished, name=folder.name), None if result is None else result.best_epoch
                    figure = plots.training_curves(history, best_epoch=best, title=title)
                    save_figure(figure, unfinished / "training.png")
    if verbose:
        _say_best(result)


def _fit(
    config: Namespace,
    module: Any,
    objective: ELBO,
    dataset: Data,
    device: torch.device,
    folder: Path,
    recorder: _Recorder,
) -> Fit:
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
        progress=not recorder.loud,
        on_step=recorder,
        tensorboard=folder / "tensorboard" if config.tensorboard else None,
    )


def _about(
    config: Namespace, module: Any, dataset: Data, history: Sequence[Metrics], result: Fit | None
) -> dict[str, Any]:
    """What a run saw and reached; of a run that was interrupted the best epoch is not known."""
    best = {} if result is None else result.history[result.best_epoch - 1]
    return {
        "protocol": dataset.protocol,
        "data_sha256": dataset.digest,
        "event_shape": list(dataset.event_shape),
        "num_train": len(dataset.train),
        "num_parameters": count_parameters(module),
        "finished": result is not None,
        "epochs": len(history),
        "epochs_asked_for": config.epochs,
        "warmed_up": len(history) >= config.kl_warmup if result is None else result.warmed_up,
        "kl_weight": history[-1]["kl_weight"],
        "best_epoch": None if result is None else result.best_epoch,
        **{f"best_{name}": best.get(name) for name in ("validation_elbo", "validation_rate", "validation_distortion")},
        "seconds": round(sum(metrics["seconds"] for metrics in history), 1),
        "command": command_line(),
        "working_directory": str(Path.cwd()),
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
    """Writes each epoch's metrics to the run, and now and then to a terminal that shows no progress bar."""

    def __init__(self, folder: Path, epochs: int, *, loud: bool) -> None:
        self.folder, self.epochs, self.loud, self.shown = folder, epochs, loud, -math.inf
        self.history: list[Metrics] = []

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        if "epoch" not in metrics:
            return
        self.history.append(metrics)
        with contextlib.suppress(OSError):  # a full disk: all lines are written again at the end
            append_metrics(self.folder, metrics)
        if self.loud and (time.monotonic() - self.shown > 10 or metrics["epoch"] == self.epochs):
            self.shown = time.monotonic()
            print(
                f"epoch {metrics['epoch']:.0f}/{self.epochs}: loss {metrics['loss']:.2f}, validation ELBO "
                f"{metrics['validation_elbo']:.2f} nats per data point",
                flush=True,
            )
