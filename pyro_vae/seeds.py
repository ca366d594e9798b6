"""Several seeds of one pair, trained at once: the step of one pair, recorded, run for all of them as one program."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import pyro
import torch
from pyro.infer import ELBO, Trace_ELBO
from torch import Tensor, nn

from .batched_step import BatchedStep
from .checks import check_arguments, require_parameters
from .compiled import CompiledELBO, where_it_pays
from .data import Data
from .objectives import KLWarmup, check_kl_weight
from .optimizer import MakeOptimizer, MakeScheduler, OneOptimizer, adam
from .pairs import announcing, get_state, modules_of, seeded, set_state, train_mode
from .products import products_in_tf32
from .steps import NonFiniteLoss
from .train import (
    READ_EVERY,
    SAVED_PER_PARAMETER_AND_IMAGE,
    SAVED_PER_STEP,
    Fit,
    Metrics,
    validate,
)
from .whole_step import Selecting


def fit_seeds(
    make_pair: Callable[[], nn.Module],
    data: Tensor | Data,
    *,
    seeds: Sequence[int],
    validation: Tensor | None = None,
    visit: Callable[[Tensor], Tensor] | None = None,
    objective: ELBO | None = None,
    optimizer: MakeOptimizer | None = None,
    scheduler: MakeScheduler | None = None,
    clip_norm: float | None = None,
    epochs: int = 100,
    batch_size: int = 128,
    kl_weight: float | KLWarmup = 1.0,
    compile: bool | Literal["auto"] = "auto",
    precision: Literal["fp32", "tf32", "bf16"] = "fp32",
    device: str | torch.device = "auto",
) -> list[Fit]:
    """Train one pair for each seed, all in one batched program; choose it to compare over seeds at once.

    As `fit` of each: initial parameters, order of the images and noise of a pair are its own, a step whose loss or
    gradient is not finite changes nothing, and each ends in its own best state. Initial parameters and order belong to
    the seed; the noise is drawn for all seeds together, so that a result also depends on which seeds it ran with, and
    differs from that of `fit` as one seed's does from another's. Meant for GPUs, which one small pair leaves idle
    (not run on one yet); on one CPU core it is slower than `fit` of each. All pairs take
    the same steps: there is no patience to stop one early, and nothing is told after each step; `fit` has both.

    Args:
        make_pair: makes a module with methods ``model`` and ``guide``, all its parts new; called once for each seed,
            under that seed, and once more to record a step.
        seeds: different seeds.
        optimizer: torch's Adam or AdamW, as `adam` makes it; other optimizers are for `fit`.
        data, validation, visit, objective, scheduler, clip_norm, epochs, batch_size, kl_weight, compile, precision,
            device: as in `fit`.

    Returns:
        One `Fit` for each seed, in their order; ``seconds`` in its history are those of all seeds together.

    Raises:
        ValueError: a step that cannot be recorded for all seeds, with the reason: train each seed with `fit`. And as
            in `fit`.
        NonFiniteLoss: the loss or gradient of one seed became NaN or infinite; names the seed and the step.

    Example:
        >>> from pyro_vae import MLP, VAE, Bernoulli, GaussianEncoder, StandardNormal, data
        >>> digits = data.load("digits", binarization="dynamic")
        >>> def make_pair():
        ...     px = Bernoulli(digits.event_shape, mean=digits.train.mean(0))
        ...     encoder = GaussianEncoder(digits.event_shape, 2)
        ...     return VAE(StandardNormal(2), encoder, MLP(2, px.feature_shape), px)
        >>> results = fit_seeds(make_pair, digits, seeds=[1, 2, 3], epochs=1)
        >>> len({result.history[-1]["validation_elbo"] for result in results})
        3
    """
    if isinstance(data, Data):
        validation = data.validation if validation is None else validation
        visit = data.visit if visit is None else visit
        data = data.train
    seeds = list(seeds)
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"Expected different seeds, at least one; got {seeds}.")
    objective = Trace_ELBO() if objective is None else objective
    warmup = kl_weight if isinstance(kl_weight, KLWarmup) else KLWarmup(weight=kl_weight)
    check_kl_weight(objective, warmup)
    on_gpu = torch.cuda.is_available() if device == "auto" else torch.device(device).type == "cuda"
    place = torch.device("cuda" if on_gpu else data.device) if device == "auto" else torch.device(device)

    pairs = [_made(make_pair, seed, place) for seed in [*seeds, seeds[0]]]
    *pairs, pattern = pairs
    tensors = [id(t) for pair in [*pairs, pattern] for t in [*pair.parameters(), *pair.buffers()]]
    if len(tensors) != len(set(tensors)):
        raise ValueError(
            "Expected make_pair to make all parts of a pair anew; got parameters or buffers that two pairs share. "
            "Build every module inside make_pair, or train each seed with fit."
        )
    missing = any(getattr(part, "accepts_missing", False) for part in pattern.modules())
    check_arguments(data, validation, epochs=epochs, batch_size=batch_size, patience=None, missing=missing)
    data, validation = data.to(place), None if validation is None else validation.to(place)

    full_batch = min(batch_size, len(data))
    steps_per_epoch = math.ceil(len(data) / batch_size)
    total_steps = epochs * steps_per_epoch
    weight_at = warmup.schedule(steps_per_epoch=steps_per_epoch, total_steps=total_steps)
    weight = torch.ones((), device=place)
    work = sum(p.numel() for pair in pairs for p in pair.parameters()) * full_batch
    saves = total_steps * (SAVED_PER_STEP * len(seeds) + SAVED_PER_PARAMETER_AND_IMAGE * work)
    of_graph: Literal["fp32", "bf16"] = "fp32" if precision == "tf32" else precision
    where = where_it_pays(objective, compile=compile, precision=of_graph, saves=saves, device=place)
    compiles = isinstance(where, CompiledELBO) and where.backend == "inductor"
    objective = where.elbo if isinstance(where, CompiledELBO) else where
    read_every = 1 if place.type == "cpu" else READ_EVERY
    one = OneOptimizer(optimizer or adam(), make_scheduler=scheduler, clip_norm=clip_norm)

    def batch_of(chosen: Tensor) -> Tensor:
        return data[chosen] if visit is None else visit(data[chosen])

    modules = {str(i): pair for i, pair in enumerate([*pairs, pattern])}
    store = pyro.get_param_store()
    with seeded(seeds[0]), store.scope(), train_mode(modules), products_in_tf32(precision == "tf32"):
        started = time.perf_counter()
        for seed, pair in zip([*seeds, seeds[0]], [*pairs, pattern], strict=True):
            with seeded(seed):
                require_parameters(
                    *announcing(pair.model, pair.guide), batch_of(torch.arange(full_batch, device=place))
                )
        sizes = {len(chosen) for chosen in torch.arange(len(data)).split(batch_size)}
        step = BatchedStep(
            pairs,
            pattern,
            Selecting(objective, batch_of),
            one,
            weight,
            shared=[data, weight],
            size=full_batch,
            precision=of_graph,
        )
        for size in sorted(sizes):
            step.record(size, compiles=compiles and size == full_batch)
        compile_seconds = time.perf_counter() - started

        orders = [torch.Generator().manual_seed(seed) for seed in seeds]
        histories: list[list[Metrics]] = [[] for _ in seeds]
        behind = [modules_of(pair.model, pair.guide) for pair in pairs]
        best = [(math.inf, 0, _state(owned)) for owned in behind]
        taken = 0
        for epoch in range(1, epochs + 1):
            started, told, waiting, losses = time.perf_counter(), taken, [], torch.zeros(len(seeds), dtype=torch.double)
            order = torch.stack([torch.randperm(len(data), generator=own) for own in orders]).to(place)
            for chosen in order.split(batch_size, dim=1):
                weight.fill_(weight_at(taken))
                waiting.append(step.take(chosen))
                taken += 1
                if taken % read_every == 0 or taken % steps_per_epoch == 0:
                    read = torch.stack(waiting).cpu()
                    _check_finite(read[..., 2], seeds, told)
                    losses += read[..., 0].double().sum(0)
                    told, waiting = taken, []
            step.hand_back()
            for i, pair in enumerate(pairs):
                metrics: Metrics = {"epoch": epoch, "step": taken, "loss": losses[i].item() / len(data)}
                metrics["kl_weight"] = weight.item()
                metrics |= {"learning_rate": step.learning_rate, "grad_norm": read[-1, i, 1].item()}
                full_loss = -math.inf
                if validation is not None:
                    announced = announcing(pair.model, pair.guide)
                    metrics |= validate(*announced, validation, batch_size=max(batch_size, 1000))
                    full_loss = metrics["validation_distortion"] + warmup.weight * metrics["validation_rate"]
                if full_loss < best[i][0] or validation is None:
                    best[i] = full_loss, epoch, _state(behind[i])
                histories[i].append(metrics)
            seconds = time.perf_counter() - started + (compile_seconds if epoch == 1 else 0.0)
            for history in histories:
                history[-1] |= {"seconds": seconds} | ({"compile_seconds": compile_seconds} if epoch == 1 else {})
    for owned, (_, _, state) in zip(behind, best, strict=True):
        set_state(owned, store, state)
    return [
        Fit(pair.model, pair.guide, history, state, best_epoch, stopped_early=False)
        for pair, history, (_, best_epoch, state) in zip(pairs, histories, best, strict=True)
    ]


def _made(make_pair: Callable[[], nn.Module], seed: int, place: torch.device) -> Any:
    with seeded(seed):
        pair = make_pair()
    if not (isinstance(pair, nn.Module) and callable(getattr(pair, "model", None)) and hasattr(pair, "guide")):
        raise ValueError(
            f"Expected make_pair to return an nn.Module with methods model and guide; got {type(pair).__name__}. Put "
            f"plain functions into a module, or train each seed with fit."
        )
    return pair.to(place)


def _state(owned: dict[str, nn.Module]) -> dict[str, Tensor]:
    store = pyro.get_param_store()
    with store.scope():  # it holds what was recorded
        return get_state(owned, store)


def _check_finite(looked_at: Tensor, seeds: Sequence[int], told: int) -> None:
    """Raise a `NonFiniteLoss` unless all of (steps, seeds) are finite."""
    wrong = (~looked_at.isfinite()).nonzero()
    if len(wrong):
        step, i = wrong[0].tolist()
        raise NonFiniteLoss(
            f"Expected a finite loss and gradient; at step {told + step + 1} got NaN or infinity with seed {seeds[i]}. "
            f"Try a lower learning rate, clip_norm, or a floor under the scales; fit with this seed names the sites."
        )
