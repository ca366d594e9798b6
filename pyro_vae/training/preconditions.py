"""What must hold of data, settings and pair before the first step."""

from __future__ import annotations

import numbers
from collections.abc import Callable, Iterable, Iterator, Set
from typing import Any, TypeVar

import torch
from pyro import poutine
from pyro.infer import ELBO
from torch import Tensor, nn

from ..arguments.at_least import at_least
from ..arguments.rows import Home
from ..data import Data
from ..objectives.accepted import sums_over_marks
from ..objectives.kl_weights import KLWarmup
from ..pairs.amortized import check_no_autoguide
from ..pairs.batch import Batch, Points, shapes_of, tensors_of
from ..pairs.checks import CHECKED_AT_ONCE, check_data, check_latents
from ..pairs.contexts import evaluating, seeded, unvalidated
from ..pairs.enumerated import Enumeration, SummedOut, enumeration_of, summed_out
from ..pairs.inputs import Loader, absent, as_given
from ..pairs.modules import Callee
from ..pairs.scoring import traces
from ..pairs.sentences import in_a_sentence
from ..pairs.trainable import check_trainable
from .trials import run_pair, trying
from .visiting import OnDevice, Visits, example_of, pieces, values_of

T = TypeVar("T")
Transform = Callable[..., Any]  # of a batch, called as the model is


def unpacked(
    data: Any, validation: Any, batch_transform: Transform | None, dtype: torch.dtype | None
) -> tuple[Any, Any, Transform | None]:
    """Training data, validation data and the transform of batches, as given, else those of a `Data`; see `as_given`."""
    home = Home(dtype)
    if isinstance(data, Data):
        validation = data.given("validation") if validation is None else validation
        batch_transform = data.transform if batch_transform is None else batch_transform
        data = data.given("train")
    data = as_given("data", data, home)
    if validation is not None:
        validation = as_given("validation", validation, home)
        wanted, got = (shapes_of(example_of(points)) for points in (data, validation))
        if wanted != got:
            raise ValueError(f"Expected validation data points of shape {wanted}, as in training; got {got}.")
    return data, validation, batch_transform


def as_warmup(kl_weight: float | KLWarmup) -> KLWarmup:
    """A constant weight as a warm-up of no length."""
    if isinstance(kl_weight, KLWarmup):
        return kl_weight
    if not isinstance(kl_weight, numbers.Real):
        raise TypeError(
            f"Expected kl_weight to be a number or a KLWarmup; got {kl_weight!r}. Give 1.0, or leave "
            f"it out, for the ELBO."
        )
    return KLWarmup(weight=float(kl_weight))


def check_settings(validation: Any, *, epochs: int, batch_size: int, patience: int | None) -> None:
    """Raise a ValueError for counts below 1, and patience without validation data."""
    at_least(1, epochs=epochs, batch_size=batch_size, patience=patience)
    if patience is not None and validation is None:
        raise ValueError(
            f"Expected validation data with patience={patience}; got none. Give validation=..., or leave patience out."
        )


def check_finite(name: str, points: Any, modules: dict[str, nn.Module]) -> None:
    """Raise a ValueError for values that are not finite; NaN is let pass where a module says that it takes it.

    Looked at is what is in memory; data that are read later are looked at then.
    """
    missing = any(getattr(part, "accepts_missing", False) for module in modules.values() for part in module.modules())
    for values in values_of(points):
        if not values.is_floating_point() or values.sum().isfinite():
            continue  # a sum is finite only if all its terms are, and much quicker than a mask of them
        wrong = values.isinf() if missing else ~values.isfinite()
        if wrong.any():
            raise ValueError(
                f"Expected finite values in {name}; got {int(wrong.sum()):,} NaN or infinite ones. Remove or replace "
                f"them; for values that are missing, mark them with NaN and use Masked(likelihood), or set "
                f"accepts_missing = True on a module of yours that takes NaN."
            )


def summed_pair(model: Callee, guide: Callee, batch: Points) -> tuple[tuple[Callee, Callee], Enumeration]:
    """The pair with its enumerated sites summed out, for evaluation; and what it sums over in training.

    The two differ for sites that are relaxed in training and exact in evaluation.
    """
    check_no_autoguide(model, guide)
    # Values are looked at later, and all of them.
    with seeded(0), evaluating(model, guide, initial=True), unvalidated():
        summed = summed_out(model, guide, batch)
    if not isinstance(summed[0], SummedOut):  # the look in training mode is for those alone that have such sites
        return summed, Enumeration(set(), set(), 1)
    with trying(model, guide), unvalidated():
        return summed, enumeration_of(model, guide, batch)


def first_of(visited: Visits) -> tuple[Any, Points]:
    """What the first step takes, and the batch that is made of it."""
    first: Any = visited.first()
    with seeded(0), torch.no_grad():  # a transform may draw
        return first, visited.batch_of(first)


def try_loss(enumeration: Enumeration, objective: ELBO, model: Callee, guide: Callee, batch: Points) -> None:
    """Raise a ValueError where Pyro's rules for sums over enumerated sites forbid the pair, on a batch."""
    if not enumeration.in_model:
        return
    with trying(model, guide):
        try:
            with in_a_sentence():
                objective.loss(model, guide, batch)
        except NotImplementedError as error:  # plates that depend on each other without one being inside the other
            raise ValueError(f"{str(error).rstrip('.')}. Loop over one of the plates.") from error


def check_pair(model: Callee, guide: Callee, batch: Points) -> None:
    """Run the pair on a batch, so that what is wrong with it shows before it is trained on.

    Raises:
        ValueError: it has nothing to train, model and guide do not fit together, or a value lies outside the support of
            its site.
    """
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


Pair = tuple[Callee, Callee]


def pair_of_kind(
    announced: Pair, weighted: Pair, objective: ELBO, alone: Set[str], kl_weight: KLWarmup, batch: Points
) -> Pair:
    """The pair for batches of another kind than the first, as where labels are not known, its sites summed out; checked
    as it was for the first.

    Args:
        weighted: the announced one with KL weights, as it is trained.
        alone: sites of the first batch that are summed over in the model alone.

    Raises:
        ValueError: it cannot be trained so, though the first could.
    """
    summed, enumeration = summed_pair(*announced, batch)
    if enumeration.in_model and not sums_over_marks(objective):
        nesting = enumeration.plate_nesting
        raise ValueError(
            f"Expected a first batch that shows which sites are summed over, or an objective that sums; got the marked "
            f"sites {sorted(enumeration.in_model)} in a later batch and {type(objective).__name__}. Give "
            f"objective=TraceEnum_ELBO(max_plate_nesting={nesting}, strict_enumeration_warning=False)."
        )
    if kl_weight != KLWarmup() and (more := enumeration.in_model - enumeration.in_guide - alone):
        raise ValueError(
            f"Expected a first batch that shows which sites the model alone sums over, for a KL weight; got "
            f"{sorted(more)} in a later one. Let the loader begin with such a batch, or leave kl_weight at 1."
        )
    check_pair(*summed, batch)
    try_loss(enumeration, objective, *weighted, batch)
    return summed


def check_values(model: Callee, guide: Callee, batches: Iterable[Points]) -> None:
    """Raise a ValueError where values are not finite, or outside the support of their site.

    Recorded steps do not look at values again. What is not finite after a transform is left to the step that meets it.
    """
    with evaluating(model, guide, initial=True), unvalidated():
        check_data(model, guide, batches)


def check_all(
    model: Callee, guide: Callee, visited: Visits, validation: Any, device: torch.device, modules: dict[str, nn.Module]
) -> None:
    """`check_values` of validation data, and of data on the device, whose batches are settled; others are looked at as
    they are visited."""
    visited.settle(model, guide)
    if isinstance(visited, OnDevice):
        check_values(model, guide, visited.each())
    if validation is not None:
        _check_kinds(visited, validation)
        batches = pieces(validation, CHECKED_AT_ONCE, device)
        check_values(model, guide, (_finite(batch, modules) for batch in batches))


def _check_kinds(visited: Visits, validation: Any) -> None:
    """Raise a ValueError where training has real numbers and validation whole ones, as before a batch_transform."""
    first: Any = visited.first()
    with seeded(0):
        pair = visited.batch_of(first), validation[:1] if not isinstance(validation, Loader) else validation.first
    for trained, given in zip(*map(tensors_of, pair), strict=True):
        if trained.is_floating_point() != given.is_floating_point():
            kinds = [str(entry.dtype).removeprefix("torch.") for entry in (trained, given)]
            raise ValueError(
                f"Expected validation data of the kind that training visits, {kinds[0]}; got {kinds[1]}. Training data "
                f"alone go through batch_transform: apply it to validation data beforehand."
            )


def _finite(batch: Points, modules: dict[str, nn.Module]) -> Points:
    check_finite("validation", batch, modules)
    return batch


def steps_in(visited: Visits, warmup: KLWarmup) -> int | None:
    """Steps in an epoch, where they are known; a ValueError where they are not, and the warm-up is told in epochs."""
    if visited.steps_per_epoch is None and warmup.epochs:
        raise ValueError(
            f"Expected data of a known length for a KL warm-up of {warmup.epochs:g} epochs; got a loader without "
            f"len(). Give the warm-up in steps, KLWarmup(steps=...)."
        )
    return visited.steps_per_epoch


def checked(
    batches: Iterable[T],
    pair: Pair,
    of_kind: Callable[..., Pair],
    batch_of: Callable[[Any], Points],
    modules: dict[str, nn.Module],
) -> Iterator[T]:
    """The same batches, each looked at before it is trained on; those whose entries are None where others have a value
    with a pair of their own."""
    pairs: dict[frozenset[str], Pair] = {}
    for number, batch in enumerate(batches, start=1):
        check_finite(f"batch {number} of the data", batch, modules)
        kind = frozenset(absent(batch)) if isinstance(batch, Tensor | Batch) else frozenset()
        if kind not in pairs:
            with seeded(0):
                pairs[kind] = of_kind(batch_of(batch)) if pairs else pair
        check_values(*pairs[kind], map(batch_of, [batch]))
        yield batch
