"""What must hold of data, settings and pair before the first step."""

from __future__ import annotations

import numbers
from collections.abc import Callable
from typing import Any

from pyro import poutine
from pyro.infer import ELBO
from torch import Tensor, nn

from ..arguments.at_least import at_least
from ..data import Data
from ..objectives.kl_weights import KLWarmup
from ..pairs.amortized import check_no_autoguide
from ..pairs.batch import Points, as_points, shapes_of, tensors_of
from ..pairs.checks import check_data, check_latents
from ..pairs.contexts import evaluating, unvalidated
from ..pairs.enumerated import Enumeration, enumeration_of, summed_out
from ..pairs.modules import Callee
from ..pairs.scoring import traces
from ..pairs.trainable import check_trainable
from .batches import batch_sizes
from .trials import run_pair, trying

Transform = Callable[..., Any]  # of a batch, called as the model is


def unpacked(
    data: Any, validation: Any, batch_transform: Transform | None
) -> tuple[Points, Points | None, Transform | None]:
    """Training data, validation data and the transform of batches: as given, else those of a `Data`."""
    if isinstance(data, Data):
        validation = data.validation if validation is None else validation
        batch_transform = data.batch_transform if batch_transform is None else batch_transform
        data = data.train
    data = as_points("data", data)
    if validation is not None:
        validation = as_points("validation", validation)
        wanted, got = (shapes_of(points) for points in (data, validation))
        if wanted != got:
            raise ValueError(f"Expected validation data points of shape {wanted}, as in training; got {got}.")
    return data, validation, batch_transform


def as_warmup(kl_weight: float | KLWarmup) -> KLWarmup:
    """A constant weight as a warm-up of no length."""
    if isinstance(kl_weight, KLWarmup):
        return kl_weight
    if not isinstance(kl_weight, numbers.Real):
        raise TypeError(f"Expected kl_weight to be a number or a KLWarmup; got {kl_weight!r}.")
    return KLWarmup(weight=float(kl_weight))


def check_settings(validation: Points | None, *, epochs: int, batch_size: int, patience: int | None) -> None:
    """Raise a ValueError for counts below 1, and patience without validation data."""
    at_least(1, epochs=epochs, batch_size=batch_size, patience=patience)
    if patience is not None and validation is None:
        raise ValueError(
            f"Expected validation data with patience={patience}; got none. Give validation=..., or leave patience out."
        )


def check_finite(data: Points, validation: Points | None, modules: dict[str, nn.Module]) -> None:
    """Raise a ValueError for values that are not finite; NaN is let pass where a module says that it takes it."""
    missing = any(getattr(part, "accepts_missing", False) for module in modules.values() for part in module.modules())
    given = [("data", entry) for entry in tensors_of(data)]
    given += [] if validation is None else [("validation", entry) for entry in tensors_of(validation)]
    for name, values in given:
        if not values.is_floating_point() or values.sum().isfinite():
            continue  # a sum is finite only if all its terms are, and much quicker than a mask of them
        wrong = values.isinf() if missing else ~values.isfinite()
        if wrong.any():
            raise ValueError(
                f"Expected finite values in {name}; got {int(wrong.sum()):,} NaN or infinite ones. Remove or replace "
                f"them; for values that are missing, mark them with NaN and use Masked(likelihood), or set "
                f"accepts_missing = True on a module of yours that takes NaN."
            )


def summed_pair(
    model: Callee, guide: Callee, batch_of: Callable[[Tensor], Any], indices: Tensor
) -> tuple[tuple[Callee, Callee], Enumeration]:
    """The pair with its enumerated sites summed out, for evaluation; and what it sums over in training.

    The two differ for sites that are relaxed in training and exact in evaluation.
    """
    check_no_autoguide(model, guide)
    with trying(model, guide), unvalidated():  # values are looked at later, and all of them
        batch = batch_of(indices)
        found = enumeration_of(model, guide, batch)
    with evaluating(model, guide, initial=True), unvalidated():
        return summed_out(model, guide, batch), found


def try_loss(objective: ELBO, model: Callee, guide: Callee, batch_of: Callable[[Tensor], Any], indices: Tensor) -> None:
    """Raise a ValueError where Pyro's rules for sums over enumerated sites forbid the pair, on a batch."""
    with trying(model, guide):
        try:
            objective.loss(model, guide, batch_of(indices))
        except NotImplementedError as error:  # plates that depend on each other without one being inside the other
            raise ValueError(f"{str(error).rstrip('.')}. Loop over one of the plates.") from error


def check_pair(
    model: Callee,
    guide: Callee,
    batch_of: Callable[[Tensor], Any],
    indices: Tensor,
    validation: Points | None,
    batch_size: int,
) -> list[int]:
    """Run the pair on all data, so that what is wrong with it or them shows before training.

    Args:
        batch_of: the batch for indices (B,).
        indices: of all training data, (N,).

    Returns:
        The sizes of the batches of an epoch.

    Raises:
        ValueError: it has nothing to train, model and guide do not fit together, a value lies outside the support of
            its site, or the pair refuses the last batch.
    """
    batch = batch_of(indices[:batch_size])
    check_trainable(model, guide, batch)
    with evaluating(model, guide, initial=True), poutine.trace(param_only=True) as capture:
        model_trace, guide_trace = traces(model, guide, batch)
        discrete = check_latents(model_trace, guide_trace)
        params = [site["value"].unconstrained() for site in capture.trace.nodes.values() if site["type"] == "param"]
    if discrete:  # perhaps not while training
        with trying(model, guide):
            check_latents(*run_pair(model, guide, batch))
    if not any(param.requires_grad for param in params):
        raise ValueError(
            "Expected something to train; got a model and a guide without trainable parameters. Give bound methods of "
            "an nn.Module or PyroModule that has parameters, or functions that call pyro.module or pyro.param."
        )
    sizes = batch_sizes(model, guide, batch_of, indices, batch_size)
    # All of them: recorded steps do not look at values again. What is not finite is left to the step that meets it.
    with evaluating(model, guide, initial=True), unvalidated():
        check_data(model, guide, map(batch_of, indices.split(sizes)))
        if validation is not None:
            check_data(model, guide, [validation])
    return sizes
