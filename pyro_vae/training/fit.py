"""Training: the function `fit`."""

from __future__ import annotations

import functools
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pyro
import torch
from pyro.infer import ELBO
from pyro.optim import PyroOptim
from tqdm import tqdm

from ..compiled.when_it_pays import compile_if_worthwhile, saved_in_training
from ..data import Data
from ..objectives.accepted import as_objective, check_kl_weight, for_enumeration, with_kl_weight
from ..objectives.kl_weights import KLWarmup, KLWeight, scale_latents
from ..output.progress import begun_at, progress_bar
from ..pairs.batch import taking
from ..pairs.contexts import seeded
from ..pairs.enumerated import Enumeration
from ..pairs.inputs import Inputs, Loader, home_of
from ..pairs.modules import Callee, announcing, is_bound, modules_of
from ..pairs.scales import for_the_batch
from ..pairs.state import get_state
from ..pairs.trainable import call_once
from .checkpoint import Checkpoint, described, saving
from .conditions import training_conditions
from .course import Course
from .device import choose_device
from .epoch import OnStep, each_of, told, train_epoch
from .fitted import Fit, attach, in_words
from .optimizer import MakeOptimizer, MakeScheduler, OneOptimizer
from .preconditions import (
    Transform,
    as_warmup,
    check_all,
    check_finite,
    check_pair,
    check_settings,
    checked,
    first_of,
    pair_of_kind,
    steps_in,
    summed_pair,
    try_loss,
    unpacked,
)
from .selection import BestState
from .sharing import share_of
from .steps import Steps
from .tensorboard import tensorboard_writer
from .validation import validate
from .visiting import example_of, on_device, visits

# Losses are read once in so many steps on a GPU, which would stand still meanwhile.
READ_EVERY = 50
READ_STREAM_EVERY = 10  # until then, batches that come one by one stay on the device


def fit(
    model: Callee,
    guide: Callee,
    data: Inputs | Data,
    *,
    validation: Inputs | None = None,
    batch_transform: Transform | None = None,
    objective: ELBO | type[ELBO] | None = None,
    optimizer: MakeOptimizer | PyroOptim | None = None,
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
    on_step: OnStep | Sequence[OnStep] | None = None,
    tensorboard: str | Path | None = None,
    checkpoint: str | Path | Checkpoint | None = None,
    distributed: bool = False,
) -> Fit:
    """Train a model/guide pair with Pyro's SVI.

    The pair may be bound methods of an ``nn.Module`` or a ``PyroModule``, or plain functions that use ``pyro.param``
    and ``pyro.module``. Modules end up with the best state, in the mode they were in; the caller's param store and
    random stream are as they were before.

    Training runs in training mode: parts that are frozen by ``part.eval()`` inside a module in training mode stay in
    evaluation mode, and a pair that is in evaluation mode as a whole is put in training mode as a whole.

    A `Callee`, one half of a pair, is any function that is called with a batch and has Pyro sites. The model takes one
    plate over the data, ``pyro.plate("data", len(x), dim=-1)``.

    Args:
        model: p(x, z), called with a batch of data points (B, ...), or with several tensors.
        guide: q(z|x), called with the same batch.
        data: training data (N, ...), a tensor or an array: NumPy, a memory map, a sparse matrix of SciPy, a data frame.
            Several with the same N: a tuple ``(x, y)`` calls ``model(x, y)``, a dict ``{"x": x, "y": y}`` calls by
            keyword, with None where a model takes None. A `Data`, which brings its validation data and its
            ``batch_transform`` along. A torch data set that gives data points by number, or a `DataLoader` or
            whatever else gives batches anew in each pass. See "Forms of data" below.
        validation: data for validation after each epoch, in any of these forms; they select the best state.
        batch_transform: what each batch goes through when it is used, on the device: ``torch.bernoulli`` for dynamic
            binarization, ``lambda x: x / 255`` for grey levels of 8 bits. Training data alone go through it. With
            several tensors it is called as the model is, and returns as many.
        objective: a Pyro ELBO or its class. By default it is `Trace_ELBO`, and `TraceEnum_ELBO` where sites are marked
            for enumeration (by `pyro.infer.config_enumerate`, say), which are then summed over exactly. The settings of
            a `CompiledELBO` go before ``compile`` and ``precision``.
        optimizer: makes one torch optimizer from the list of parameters; ``adam(lr=1e-3)`` by default. An optimizer of
            `pyro.optim` with plain settings is taken, too.
        scheduler: makes a learning-rate scheduler from that optimizer; it is stepped once for each step.
        clip_norm: largest total norm of the gradient of the batch's loss, which is a sum over its data points.
        epochs: passes over the data, at most.
        batch_size: data points in a step; the batches of a loader are as it gives them. The last batch of an epoch is
            smaller. Where the pair refuses it, as batch norm does with one data point, the last two batches share their
            data points, which a warning says.
        kl_weight: constant weight of the KL term in the training loss, or a `KLWarmup`; applied from outside the model.
        patience: stop after this many epochs without a lower validation loss at full KL weight, counted from the end
            of the warm-up; None to train all epochs.
        compile: run recorded and compiled steps (`CompiledELBO`), with the same random numbers and the same losses up
            to rounding. "auto" does so where the run is long enough to save more time than compiling takes and there is
            a compiler, and not where sites are summed over, for which Pyro reads values on the way. The Python of the
            pair and of ``batch_transform`` then runs in the first two steps, and again where a number or object that it
            reads has changed (see `Recorded`); random numbers must be torch's. With Adam, the choice of the data
            points, ``batch_transform`` and the update are part of the compiled step. A pair that cannot be compiled is
            trained plainly, with a warning.
        precision: "bf16" takes matrix products and convolutions in bfloat16; parameters, likelihood and KL stay
            float32. It applies to the steps that run from a graph. "tf32" takes them in TensorFloat-32, on NVIDIA GPUs
            that have it, for the time of this run.
        device: "auto" is CUDA where there is one and the pair consists of modules, which are moved there; for plain
            functions it is the device of the data.
        seed: of a random stream for this run (order of the data, latents, binarization); None for the global one.
        progress: show a progress bar on a terminal or in a notebook; where the output is a file, a line now and then.
        on_step: a function, or several. It is called after each step with its number, from 1, and {"loss": nats per
            data point}; the last step of an epoch brings the entries of ``history`` too. On a GPU the losses of 50
            steps are read, and told, together (10 where data are read in batches). It ends the run by ``raise
            StopTraining``. Any other error of it, and an interrupt (Ctrl-C), leave `fit` as they are; like every error
            after the first step's beginning they carry what happened so far, a `Fit`, in their attribute ``fit``:
            ``except KeyboardInterrupt as stopped: result = stopped.fit``.
        tensorboard: folder for TensorBoard: ``history`` as scalars and, of validation data, the rate of each latent
            dimension (nats per data point, of the first 1,000) and, after epochs 1, 2, 5, 10, 20 and so on, images:
            reconstructions below their data, and means of p(x|z) with z from the prior.
        checkpoint: folder to save the training in, every few minutes at the end of an epoch and on an interrupt, or a
            `Checkpoint`. Where it holds the state of a training that was stopped or killed, the same call goes on from
            there, to the same numbers to the last bit on the same machine: state of the optimizer and the scheduler,
            KL weight, patience, best state, order of the data and all random streams come back. What a pair or a loader
            of your own keeps in Python from step to step does not; a pair holds it in a buffer. When the training is
            over, the files go.
        distributed: share each batch out over the processes of ``torch.distributed``, of which each runs this same
            call. Batches, random numbers, losses and parameters are those of one process, up to rounding; the first
            process's parameters are those to begin with. The update is not part of the compiled step. Progress,
            TensorBoard and checkpoints are left to the first process; ``on_step`` is called in each, and
            ``StopTraining`` in one of them ends all with the epoch. Before the first step a batch is compared with its
            shares: what is no sum over data points (batch norm), or draws by rejection, is refused.

    Raises:
        ValueError: nothing to train, no data, NaN or values outside the support of an observed site in the data, a
            count that is not a whole number of at least 1, patience without validation data, an objective that cannot
            be trained, a KL weight where it would be none, a device that this machine does not have, bf16 without
            compiling, or a checkpoint that is damaged or of other settings or data. All before the first step that
            counts, but for data that are read in batches.
        BlockingIOError: another process trains with the same checkpoint.
        OSError: its folder cannot be written.
        LostProcess: another of several processes has ended.
        TypeError: data, objective, optimizer, scheduler or KL weight are of another kind.
        NonFiniteLoss: the loss or its gradient became NaN or infinite; names the step (on a GPU, where only a gradient
            did, the steps since the last reading) and the sites whose log-probability is not finite. The modules keep
            the best state so far. Or no validation loss was finite: the modules are as they were at the start.

    Warns:
        RuntimeWarning: a validation loss is NaN or infinite; that state is not selected.
        UserWarning: the run is shorter than the KL warm-up, or the last two batches share their data points.

    Forms of data:
        - Floating-point arrays, and the float64 of data sets and loaders, take the dtype of the pair's parameters;
          tensors stay as they are. Whole numbers stay whole, as labels, counts and grey levels of 8 bits: model and
          guide, or ``batch_transform``, convert them.
        - Data in memory move to the device, and all of them are looked at before the first step.
        - Memory maps, sparse matrices, and tensors that would fill more than half of a GPU's free memory are read in
          batches, in the same order and with the same results, by a thread that is a few batches ahead. Data sets are
          read so too, in the main thread; a ``DataLoader(..., num_workers=4)`` reads ahead.
        - Of these, and of what a loader gives, the first batch is looked at before the first step, all others the first
          time they are visited. What is wrong with one is said then, and the best state so far is kept.

    Example:
        >>> from pyro_vae import MLP, Bernoulli, GaussianEncoder, StandardNormal, VAE, data
        >>> digits = data.load("digits", binarization="dynamic")
        >>> px = Bernoulli(digits.event_shape, mean=digits.train.mean(0))
        >>> vae = VAE(StandardNormal(8), GaussianEncoder(px.event_shape, 8), MLP(8, px.feature_shape), px)
        >>> result = fit(vae.model, vae.guide, digits, epochs=2, progress=False)
        >>> result.history[1]["loss"] < result.history[0]["loss"]
        True
    """
    with seeded(seed):  # a loader draws its order
        data, validation, batch_transform = unpacked(data, validation, batch_transform, home_of(model, guide).dtype)
    chosen, warmup, callbacks = as_objective(objective), as_warmup(kl_weight), each_of(on_step)
    check_kl_weight(chosen, warmup)
    check_settings(validation, epochs=epochs, batch_size=batch_size, patience=patience)
    (p, q), modules = taking(example_of(data), model, guide), modules_of(model, guide)
    check_finite("data", data, modules)
    check_finite("validation", validation, modules)
    share = share_of(distributed, seed=seed, loader=any(isinstance(each, Loader) for each in (data, validation)))
    progress, tensorboard = progress and share.rank == 0, None if share.rank else tensorboard
    device = choose_device(device, otherwise=data.device, movable=is_bound(model, guide))
    validation = on_device(modules, validation, device)
    visited = visits(data, device, batch_transform, batch_size)
    call_once(p, q, visited.batch_of, visited.first(), seed=seed)

    steps_per_epoch = steps_in(visited, warmup)
    total_steps = None if steps_per_epoch is None else epochs * steps_per_epoch
    kl = KLWeight(warmup.schedule(steps_per_epoch=steps_per_epoch or 0, total_steps=total_steps or math.inf), device)
    read_every = 1 if device.type == "cpu" else READ_STREAM_EVERY if visited.streamed else READ_EVERY
    optimizer = OneOptimizer(optimizer, make_scheduler=scheduler, clip_norm=clip_norm, check_every=read_every)
    saves = saved_in_training(modules.values(), batch_size=visited.full_batch, num_steps=total_steps or epochs)
    store, bar = pyro.get_param_store(), progress_bar(total_steps, unit="step", shown=progress)
    with (
        saving(checkpoint, share) as saver,
        training_conditions(modules, seed=seed, tf32=precision == "tf32"),
        tensorboard_writer(tensorboard, device, past=[] if saver.found is None else saver.found["history"]) as show,
        bar,
    ):
        announced = for_the_batch(*announcing(p, q))
        batch, first = first_of(visited)
        summed, enumeration = summed_pair(*announced, first)
        alone = enumeration.in_model - enumeration.in_guide
        if enumeration.in_model:
            asked_for, weight = None if objective is None else chosen, (warmup, kl) if alone else None
            chosen = _that_sums(asked_for, enumeration, weight, said=progress)
            compile = False if compile == "auto" and precision != "bf16" else compile  # Pyro reads values for its sums
        saves, products = saver.as_before(saves), "fp32" if precision == "tf32" else precision
        chosen = compile_if_worthwhile(chosen, compile=compile, precision=products, saves=saves, device=device)
        given: dict[str, Any] = {"data": data, "validation": validation, "batch_transform": batch_transform}
        given |= {"kl_weight": vars(warmup), "batch_size": batch_size, "patience": patience, "clip_norm": clip_norm}
        given |= {"precision": precision, "seed": seed, "device": device.type} | described(chosen)
        saver.require(given, epochs=epochs)
        check_pair(*summed, visited.batch_of(batch))
        check_all(*summed, visited, validation, device, modules)
        share.begin(getattr(chosen, "elbo", chosen), announced, visited, modules)
        scale = 1.0 if alone else kl.tensor  # the objective has it for sums that are the model's alone
        weighted = scale_latents(announced[0], scale), scale_latents(announced[1], scale)
        try_loss(enumeration, getattr(chosen, "elbo", chosen), *weighted, first)
        of_kind = functools.partial(pair_of_kind, announced, weighted, getattr(chosen, "elbo", chosen), alone, warmup)
        steps = Steps(*weighted, optimizer, chosen, visited.batch_of, full_batch=visited.full_batch, share=share)
        best = BestState(lambda: get_state(modules, store), warmup.weight, warmup.length(steps_per_epoch or 0))
        course = Course(modules, steps, best, summed_over=tuple(sorted(enumeration.in_model)))
        validated = functools.partial(validate, *summed, validation, batch_size=batch_size, device=device, share=share)
        try:
            if saver.found is not None:
                course.go_on(saver.found, visited.epoch(), kl, validated)
            elif saver.checkpoint is not None:
                course.watch_python()
            begun_at(bar, steps.taken)
            while not course.is_over(epochs, patience):
                started, epoch = time.perf_counter(), len(course.history) + 1
                batches = visited.epoch()
                if visited.streamed and epoch == 1:
                    batches = checked(batches, summed, of_kind, visited.batch_of, modules)
                metrics, course.stopped = train_epoch(epoch, steps, batches, kl, read_every, callbacks, bar)
                scores, sites = validated()
                metrics |= scores | {"seconds": time.perf_counter() - started}
                course.history.append(metrics)
                bar.set_description(in_words(metrics))
                show(metrics, p, q, validation)
                best.update(metrics, sites)
                course.stopped = share.any(course.stopped or told(callbacks, steps.taken, metrics), device)
                saver.take(course)
            best.require_one()
        except BaseException as error:
            saver.save()
            attach(error, course.result(model, guide, epochs))
            raise
        saver.finish(course)
        return course.result(model, guide, epochs)


def _that_sums(
    asked_for: ELBO | None, enumeration: Enumeration, weight: tuple[KLWarmup, KLWeight] | None, *, said: bool
) -> ELBO:
    """The objective that sums over enumerated sites, with the KL weight where they are the model's alone."""
    chosen = for_enumeration(asked_for, enumeration)
    if weight is not None:
        warmup, kl = weight
        chosen = with_kl_weight(chosen, warmup, kl.tensor)
    if said:
        tqdm.write(f"TraceEnum_ELBO sums over {', '.join(sorted(enumeration.in_model))}.", file=sys.stderr)
    return chosen
