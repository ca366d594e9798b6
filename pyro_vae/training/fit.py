"""Training: the function `fit`."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pyro
import torch
from pyro.infer import ELBO, Trace_ELBO
from torch import Tensor
from tqdm import tqdm

from ..compiled.custom_ops import rows
from ..compiled.matmul import products_in_tf32
from ..compiled.when_it_pays import SAVED_PER_PARAMETER_AND_IMAGE, SAVED_PER_STEP, compile_if_worthwhile
from ..data import Data
from ..objectives.kl_weights import KLWarmup, check_kl_weight, scale_latents
from ..pairs.contexts import seeded, train_mode
from ..pairs.modules import Callee, announcing, is_bound, modules_of
from ..pairs.state import get_state, set_state, with_store
from .fitted import Fit, Metrics
from .optimizer import MakeOptimizer, MakeScheduler, OneOptimizer, adam
from .preconditions import check_arguments, require_parameters
from .steps import Steps
from .tensorboard import _writer
from .validation import validate

# Losses are read once in so many steps on a GPU, which would stand still meanwhile.
READ_EVERY = 50


def fit(
    model: Callee,
    guide: Callee,
    data: Tensor | Data,
    *,
    validation: Tensor | None = None,
    visit: Callable[[Tensor], Tensor] | None = None,
    objective: ELBO | None = None,
    optimizer: MakeOptimizer | None = None,
    scheduler: MakeScheduler | None = None,
    clip_norm: float | None = None,
    epochs: int = 100,
    batch_size: int = 128,
    kl_weight: float | KLWarmup = 1.0,
    patience: int | None = None,
    compile: bool | Literal["auto"] = "auto",
    precision: Literal["fp32", "tf32", "bf16"] = "fp32",
    device: str | torch.device = "auto",
    seed: int | None = 0,
    progress: bool = True,
    on_step: Callable[[int, Metrics], None] | None = None,
    tensorboard: str | Path | None = None,
) -> Fit:
    """Train a model/guide pair with Pyro's SVI.

    The pair may be bound methods of an ``nn.Module`` or a ``PyroModule``, or plain functions that use ``pyro.param``
    and ``pyro.module``. Modules end up with the best state, in the mode they were in; the caller's param store and
    random stream are as they were before.

    Args:
        model: p(x, z), called with a batch of images (B, ...).
        guide: q(z|x), called with the same batch.
        data: training images (N, ...), or a `Data`, which brings its validation images and its ``visit`` along.
        validation: images for validation after each epoch; they select the best state.
        visit: applied to each batch when it is visited, on the device: ``torch.bernoulli`` for dynamic binarization.
        objective: any Pyro ELBO; `Trace_ELBO` by default. The settings of a `CompiledELBO` go before ``compile`` and
            ``precision``.
        optimizer: makes one torch optimizer from the list of parameters; ``adam(lr=1e-3)`` by default.
        scheduler: makes a learning-rate scheduler from that optimizer; it is stepped once for each step.
        clip_norm: largest total norm of the gradient of the batch's loss, which is a sum over its images.
        epochs: passes over the data, at most.
        batch_size: images in a step; the last batch of an epoch may be smaller.
        kl_weight: constant weight of the KL term in the training loss, or a `KLWarmup`; applied from outside the model.
        patience: stop after this many epochs without a lower validation loss at full KL weight, counted from the end
            of the warm-up; None to train all epochs.
        compile: run recorded and compiled steps (`CompiledELBO`), with the same random numbers and the same losses up
            to rounding. "auto" does so where the run is long enough to save more time than compiling takes and there is
            a compiler. The Python of the pair and of ``visit`` then runs in the first two steps, and again where a
            number or object that it reads has changed (see `Recorded`); random numbers must be torch's. With Adam, the
            choice of the images, ``visit`` and the update are part of the compiled step. A pair that cannot be compiled
            is trained plainly, with a warning.
        precision: "bf16" takes matrix products and convolutions in bfloat16; parameters, likelihood and KL stay
            float32. It applies to the steps that run from a graph. "tf32" takes them in TensorFloat-32, on NVIDIA GPUs
            that have it, for the time of this run.
        device: "auto" is CUDA where there is one and the pair consists of modules, which are moved there; for plain
            functions it is the device of the data.
        seed: of a random stream for this run (order of the images, latents, binarization); None for the global one.
        progress: show a progress bar on the terminal.
        on_step: called after each step with its number, from 1, and {"loss": nats per image}; the last step of an epoch
            brings the entries of ``history`` too. On a GPU the losses of 50 steps are read, and told, together.
        tensorboard: folder for TensorBoard scalars of ``history``.

    Raises:
        ValueError: nothing to train, no images, NaN in the data, a negative count, patience without validation images,
            a KL weight under `RenyiELBO`, or bf16 without compiling.
        NonFiniteLoss: the loss or its gradient became NaN or infinite; names the step (on a GPU, where only a gradient
            did, the steps since the last reading) and the sites whose log-probability is not finite. The modules keep
            the best state so far.

    Example:
        >>> from pyro_vae import MLP, Bernoulli, GaussianEncoder, StandardNormal, VAE, data
        >>> digits = data.load("digits", binarization="dynamic")
        >>> px = Bernoulli(digits.event_shape, mean=digits.train.mean(0))
        >>> vae = VAE(StandardNormal(8), GaussianEncoder(px.event_shape, 8), MLP(8, px.feature_shape), px)
        >>> result = fit(vae.model, vae.guide, digits, epochs=2, progress=False)
        >>> result.history[1]["loss"] < result.history[0]["loss"]
        True
    """
    if isinstance(data, Data):
        validation = data.validation if validation is None else validation
        visit = data.visit if visit is None else visit
        data = data.train
    objective = Trace_ELBO() if objective is None else objective
    warmup = kl_weight if isinstance(kl_weight, KLWarmup) else KLWarmup(weight=kl_weight)
    check_kl_weight(objective, warmup)
    modules = modules_of(model, guide)
    missing = any(getattr(part, "accepts_missing", False) for module in modules.values() for part in module.modules())
    check_arguments(data, validation, epochs=epochs, batch_size=batch_size, patience=patience, missing=missing)

    place = _device(device, data, movable=is_bound(model, guide))
    for module in modules.values():
        module.to(place)
    data, validation = data.to(place), None if validation is None else validation.to(place)

    steps_per_epoch = math.ceil(len(data) / batch_size)
    total_steps = epochs * steps_per_epoch
    weight_at = warmup.schedule(steps_per_epoch=steps_per_epoch, total_steps=total_steps)
    weight = torch.ones((), device=place)
    read_every = 1 if place.type == "cpu" else READ_EVERY
    one = OneOptimizer(optimizer or adam(), make_scheduler=scheduler, clip_norm=clip_norm, check_every=read_every)
    full_batch = min(batch_size, len(data))
    work = sum(p.numel() for m in modules.values() for p in m.parameters()) * full_batch
    saves = total_steps * (SAVED_PER_STEP + SAVED_PER_PARAMETER_AND_IMAGE * work)
    of_graph: Literal["fp32", "bf16"] = "fp32" if precision == "tf32" else precision
    objective = compile_if_worthwhile(objective, compile=compile, precision=of_graph, saves=saves, device=place)
    history: list[Metrics] = []
    best_loss, best_epoch, waited = math.inf, 0, 0

    def batch_of(chosen: Tensor) -> Tensor:
        images = rows(data, chosen)
        return images if visit is None else visit(images)

    store = pyro.get_param_store()
    bar = tqdm(total=total_steps, unit="step", disable=None if progress else True, leave=False)
    with (
        seeded(seed),
        store.scope() as trained,
        train_mode(modules),
        products_in_tf32(precision == "tf32"),
        _writer(tensorboard) as write,
        warnings.catch_warnings(),
        bar,
    ):
        # Pyro warns of a loss that is not finite; here it is an error that says more.
        warnings.filterwarnings("ignore", message="Encountered (NaN|\\+inf|-inf)")
        announced = announcing(model, guide)
        require_parameters(*announced, batch_of(torch.arange(full_batch, device=place)))
        weighted = scale_latents(announced[0], weight), scale_latents(announced[1], weight)
        steps = Steps(*weighted, one, objective, batch_of, full_batch=full_batch)
        best_state = get_state(modules, store)
        try:
            for epoch in range(1, epochs + 1):
                started, compiling, epoch_loss = time.perf_counter(), steps.compile_seconds, 0.0
                step = steps.taken
                for chosen in torch.randperm(len(data), device=place).split(batch_size):
                    if steps.taken in (0, 3) and steps.recorded is not None:  # these take long: say so
                        spent = steps.compile_seconds
                        bar.set_description(f"compiled in {spent:.0f} s" if steps.taken else "compiling")
                    weight.fill_(weight_at(steps.taken))
                    steps.take(chosen)
                    bar.update()
                    if steps.taken % read_every and steps.taken % steps_per_epoch:
                        continue
                    for loss in steps.read():
                        step, epoch_loss = step + 1, epoch_loss + loss
                        if on_step is not None and step % steps_per_epoch:  # the epoch's last step is reported below
                            on_step(step, {"loss": loss / full_batch})
                metrics: Metrics = {"epoch": epoch, "step": step, "loss": epoch_loss / len(data)}
                metrics["kl_weight"] = weight.item()
                metrics |= one.metrics()
                if spent := steps.compile_seconds - compiling:
                    metrics["compile_seconds"] = spent
                if validation is not None:
                    metrics |= validate(*announced, validation, batch_size=max(batch_size, 1000))
                metrics["seconds"] = time.perf_counter() - started
                history.append(metrics)
                bar.set_description(f"epoch {epoch}/{epochs}, loss {metrics['loss']:.2f} nats per image")
                write(metrics)
                if on_step is not None:
                    on_step(step, metrics)

                full_loss = -math.inf  # without validation images, the latest state is the best
                if validation is not None:
                    full_loss = metrics["validation_distortion"] + warmup.weight * metrics["validation_rate"]
                if full_loss < best_loss or validation is None:
                    best_loss, best_epoch, best_state, waited = full_loss, epoch, get_state(modules, store), 0
                elif step >= warmup.length(steps_per_epoch):
                    waited += 1
                if patience is not None and waited >= patience:
                    break
        finally:  # also after an error or an interrupt: the pair is left in its best state
            set_state(modules, store, best_state)
    if not is_bound(model, guide):
        model, guide = with_store(model, trained), with_store(guide, trained)
    return Fit(model, guide, history, best_state, best_epoch, stopped_early=epoch < epochs)


def _device(device: str | torch.device, data: Tensor, *, movable: bool) -> torch.device:
    if device != "auto":
        return torch.device(device)
    return torch.device("cuda") if torch.cuda.is_available() and movable else data.device
