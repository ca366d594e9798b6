"""Train one model; writes a run folder with settings, weights, metrics and figures."""

from __future__ import annotations

import functools
import math
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace

from .. import plots
from ..data import Data
from ..evidence.files import write_json
from ..networks import count_parameters
from ..objectives.kl_weights import KLWarmup
from ..pairs.contexts import seeded
from ..runs.environment import environment
from ..runs.folder import append_metrics, new_folder, save_weights
from ..runs.loading import build_model, choose_device, command_line, few_threads, load_data
from ..runs.parser import Parser
from ..runs.parts import PARTS, build_objective
from ..runs.settings import DEFAULT_PARTS, dump, parse_training
from ..training.fit import fit
from ..training.optimizer import adam


def parse(parser: Parser, arguments: Sequence[str]) -> Namespace:
    """Options of this command; those of the parts depend on the arguments."""
    return parse_training(parser, arguments, out="Run folder; by default runs/DATA-PARTS-seedSEED.")


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
        train = dataset.train if dataset.visit is None else dataset.visit(dataset.train)
    module = build_model(
        config,
        event_shape=dataset.event_shape,
        mean=dataset.mean,
        pseudo_inputs=train.where(~train.isnan(), dataset.mean) if dataset.missing else train.clone(),
    )
    if check := getattr(getattr(module, "likelihood", None), "check", None):
        for images in (train, dataset.validation, dataset.test):
            check(images)
    return module


def train_run(config: Namespace, dataset: Data, folder: Path, *, verbose: bool) -> None:
    """Train the model of the settings and write its run folder; after an interrupt, with its best state so far."""
    device = choose_device(config.device)
    module, objective = build_module(config, dataset), build_objective(config.objective.as_dict())
    folder = new_folder(folder, overwrite=config.overwrite)
    if verbose:
        described = ", ".join(config[part].class_path for part in PARTS if part in config)
        print(f"model  {described}: {count_parameters(module):,} parameters, on {device}")
    (folder / "settings.yaml").write_text(dump(config))
    total_steps = config.epochs * math.ceil(len(dataset.train) / config.batch_size)
    decay = functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=total_steps)
    finished = False
    try:
        with few_threads(module):
            result = fit(
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
                on_step=_Recorder(folder, config.epochs, loud=verbose and not sys.stderr.isatty()),
                tensorboard=folder / "tensorboard" if config.tensorboard else None,
            )
        finished = True
    except KeyboardInterrupt:
        if (folder / "metrics.jsonl").exists():
            raise KeyboardInterrupt(f"stopped; the best state so far is kept in {folder}") from None
        raise KeyboardInterrupt("stopped in the first epoch: nothing to keep") from None
    finally:  # also after an interrupt or an error: the module holds its best state
        if (folder / "metrics.jsonl").exists():
            save_weights(folder, module)
            about = {
                "protocol": dataset.protocol,
                "event_shape": list(dataset.event_shape),
                "num_train": len(dataset.train),
                "finished": finished,
                "command": command_line(),
            }
            write_json(folder / "run.json", about | environment(device))
        else:  # not one epoch, nothing to keep
            shutil.rmtree(folder)
    best = result.history[result.best_epoch - 1]
    plots.training_curves(result.history, title=folder.name).savefig(folder / "training.png", dpi=150)
    if verbose:
        stopped = "stopped early" if result.stopped_early else "all epochs done"
        print(
            f"best   epoch {result.best_epoch} of {len(result.history)} ({stopped}): validation ELBO "
            f"{best['validation_elbo']:.2f} nats per image (rate {best['validation_rate']:.2f}, distortion "
            f"{best['validation_distortion']:.2f})"
        )
        if best["validation_rate"] < 0.5 and best["validation_rate"] != 0:  # an autoencoder has no rate, exactly 0
            print(
                f"note   a rate of {best['validation_rate']:.2f} nats: the latents hardly matter yet. Train longer, "
                f"with smaller batches, or with --kl-warmup"
            )


class _Recorder:
    """Writes each epoch's metrics to the run, and now and then to a terminal that shows no progress bar."""

    def __init__(self, folder: Path, epochs: int, *, loud: bool) -> None:
        self.folder, self.epochs, self.loud, self.shown = folder, epochs, loud, -math.inf

    def __call__(self, step: int, metrics: dict[str, float]) -> None:
        if "epoch" not in metrics:
            return
        append_metrics(self.folder, metrics)
        if self.loud and (time.monotonic() - self.shown > 10 or metrics["epoch"] == self.epochs):
            self.shown = time.monotonic()
            print(
                f"epoch {metrics['epoch']:.0f}/{self.epochs}: loss {metrics['loss']:.2f}, validation ELBO "
                f"{metrics['validation_elbo']:.2f} nats per image",
                flush=True,
            )
