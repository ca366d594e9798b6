"""The model that settings describe, and its training."""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace
from pyro.infer import ELBO
from torch.distributions.constraints import Constraint

from ..data import Data
from ..objectives.kl_weights import KLWarmup
from ..pairs.checks import check_values
from ..pairs.contexts import seeded
from ..runs.loading import build_model, check_inputs
from ..runs.settings import fixed
from ..training.checkpoint import Checkpoint
from ..training.epoch import OnStep
from ..training.fit import fit
from ..training.fitted import Fit
from ..training.optimizer import adam


def build_module(config: Namespace, dataset: Data) -> Any:
    """The model of the settings, ready to be trained; refused where a part refuses its arguments, or x."""
    with seeded(config.seed):
        train = dataset.train if dataset.batch_transform is None else dataset.batch_transform(dataset.train)
    known = train.where(~train.isnan(), dataset.mean) if dataset.missing else train.clone()
    module = build_model(config, event_shape=dataset.event_shape, mean=dataset.mean, pseudo_inputs=known)
    check_inputs(module, dataset)
    if isinstance(support := getattr(getattr(module, "likelihood", None), "support", None), Constraint):
        for part in (train, dataset.validation, dataset.test):
            check_values("x", support, part)
    return module


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
    """Train a model as the settings say; checkpoints and TensorBoard's files go to the folder, if there is one."""
    total_steps = config.epochs * math.ceil(len(dataset.train) / config.batch_size)
    decay = functools.partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=total_steps)
    same = ("clip_norm", "epochs", "batch_size", "patience", "compile", "precision", "seed")
    how: dict[str, Any] = {"minutes": config.checkpoint_minutes, "epochs": config.checkpoint_epochs}
    how |= {"count": config.num_checkpoints, "keep": True, "settings": fixed(config)}
    return fit(
        module.model,
        module.guide,
        dataset,
        objective=objective,
        optimizer=adam(config.learning_rate),
        scheduler=decay if config.learning_rate_decay == "cosine" else None,
        kl_weight=KLWarmup(epochs=config.kl_warmup, weight=config.kl_weight),
        **{name: config[name] for name in same},
        device=device,
        progress=progress,
        on_step=on_step,
        tensorboard=folder / "tensorboard" if folder and config.tensorboard else None,
        checkpoint=Checkpoint(folder, **how) if folder else None,
        distributed=distributed,
    )
