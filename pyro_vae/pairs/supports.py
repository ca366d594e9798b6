"""Where the values of a distribution live."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import AffineTransform, ComposeTransform, IndependentTransform, biject_to, constraints
from torch.distributions.constraints import Constraint, MixtureSameFamilyConstraint


def is_point_mass(fn: Any) -> bool:
    """Whether a distribution is a Delta, or made of one."""
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return isinstance(fn, dist.Delta)


def is_made_of(fn: Any, kind: Any) -> bool:
    """Whether a distribution, or one that it transforms, repeats or mixes, is of a class."""
    while not isinstance(fn, kind):
        if hasattr(fn, "base_dist"):
            fn = fn.base_dist
        elif isinstance(fn, torch.distributions.MixtureSameFamily):
            fn = fn.component_distribution
        else:
            return False
    return True


def is_angle(fn: Any) -> bool:
    """Whether a distribution is one of angles: draws are of one turn, its density repeats itself over all numbers,
    which torch calls its support."""
    return is_made_of(fn, torch.distributions.VonMises | dist.SineBivariateVonMises | dist.SineSkewed)


def is_straight_through(fn: Any) -> bool:
    """Whether a distribution rounds its draws, and counts the density of what they were before."""
    kinds = dist.RelaxedBernoulliStraightThrough | dist.RelaxedOneHotCategoricalStraightThrough
    return is_made_of(fn, kinds)


def support_of(fn: Any) -> Constraint | None:
    """The support of a distribution; None for one that does not say, as a user's own may.

    Numbers that are squashed, then shifted and scaled, lie between the shifted and scaled bounds; torch calls that the
    real line.
    """
    if isinstance(fn, torch.distributions.Independent):
        base = support_of(fn.base_dist)
        return None if base is None else constraints.independent(base, fn.reinterpreted_batch_ndims)
    if isinstance(fn, dist.MaskedDistribution):
        return support_of(fn.base_dist)
    try:
        support = fn.support
    except NotImplementedError:
        return None
    if isinstance(fn, torch.distributions.TransformedDistribution):
        return _shifted_and_scaled(fn) or support
    return support.base_constraint if isinstance(support, MixtureSameFamilyConstraint) else support  # torch wraps it


def _shifted_and_scaled(fn: torch.distributions.TransformedDistribution) -> Constraint | None:
    """The support of a distribution whose last transforms shift and scale what has bounds; else None."""
    before, moves = list(_single_transforms(fn.transforms)), list[AffineTransform]()
    while before and isinstance(last := before[-1], AffineTransform):
        before.pop()
        moves.append(last)
    support = of_one_value(before[-1].codomain if before else support_of(fn.base_dist))
    low, high = getattr(support, "lower_bound", None), getattr(support, "upper_bound", None)
    if not moves or support.is_discrete or (low is None and high is None):
        return None
    bounds = [None if bound is None else torch.as_tensor(bound) for bound in (low, high)]
    turned = torch.as_tensor(False)
    for move in reversed(moves):
        bounds = [None if bound is None else move(bound) for bound in bounds]
        turned = turned ^ (torch.as_tensor(move.scale) < 0)
    low, high = bounds
    if low is not None and high is not None:
        moved: Constraint = constraints.interval(torch.minimum(low, high), torch.maximum(low, high))
    elif turned.all() or not turned.any():
        upwards = (low is None) == bool(turned.all())
        bound = high if low is None else low
        moved = constraints.greater_than_eq(bound) if upwards else constraints.less_than(bound)
    else:
        return None
    event_dim = len(fn.event_shape)
    return constraints.independent(moved, event_dim) if event_dim else moved


def _single_transforms(transforms: list[Any]) -> Iterator[Any]:
    for transform in transforms:
        if isinstance(transform, ComposeTransform):
            yield from _single_transforms(transform.parts)
        elif isinstance(transform, IndependentTransform):
            yield from _single_transforms([transform.base_transform])
        else:
            yield transform


def of_one_value(support: Any) -> Any:
    """The constraint of a single value, inside all wrappers."""
    while hasattr(support, "base_constraint"):
        support = support.base_constraint
    return support


def of_one_event(support: Any) -> Any:
    """The constraint of one event, without the dimensions that are only repeated."""
    while isinstance(support, constraints.independent):
        support = support.base_constraint
    return support


def free_coordinates(support: Constraint, event_shape: tuple[int, ...]) -> Any:
    """How many free coordinates a support has; its name where they cannot be told."""
    event_shape = torch.Size(event_shape)  # a plain tuple of an ImproperUniform
    if support.is_discrete:  # one-hot vectors are among all binary codes, but not their relaxations
        return "one-hot" if of_one_value(support) is constraints.one_hot else "discrete"
    support = of_one_event(support)
    if support.event_dim == 0:  # said apart, for bounds that differ between data points would count these, too
        return event_shape.numel()
    try:
        return biject_to(support).inverse_shape(event_shape).numel()
    except NotImplementedError:
        return repr(support)


def num_coordinates(value: Tensor, fn: Any) -> int | None:
    """How many free coordinates all events of a value have; None where that cannot be told."""
    support = support_of(fn)
    each = None if support is None else free_coordinates(support, fn.event_shape)
    return value.numel() // fn.event_shape.numel() * each if isinstance(each, int) else None


def describe(support: Any) -> str:
    """A support in words for a message: its own, or its class's name where those are long."""
    support = of_one_event(support)
    return text if len(text := str(support)) < 60 else type(support).__name__.strip("_")


# Data of torch's supports in words, and what to do with others; a support of ours says both, by `str` and ``cure``.
DATA: dict[Any, tuple[str, str]] = {
    constraints.boolean: (
        "0 or 1",
        "Grey pixels under a Bernoulli give a bound on no likelihood: binarize them (binarization='dynamic', "
        "--binarization dynamic), or use DiscretizedLogistic or Gaussian.",
    ),
    constraints.nonnegative_integer: (
        "counts 0, 1, 2, ...",
        "Give raw counts, floats that are whole numbers, not normalized or as logarithms (array files: uint8 is "
        "divided by 255, so save another type, with `.astype('int64')`), or use Gaussian.",
    ),
    constraints.one_hot: ("one-hot vectors", "Encode them with torch.nn.functional.one_hot(k).float()."),
    constraints.unit_interval: ("0 to 1", "Scale 8-bit images by 1/255, other data by their range, or use Gaussian."),
}


def words_and_cure(support: Any) -> tuple[str, str]:
    """The support of a single value in words, and what to do with data outside it."""
    if isinstance(support, constraints.integer_interval):  # whose bounds may be tensors
        low, high = (torch.as_tensor(bound) for bound in (support.lower_bound, support.upper_bound))
        return (
            f"counts from {low.min().item():g} to {high.max().item():g}",
            "Set total_count to the largest k there can be; levels k / total_count are Binomial(data='levels').",
        )
    other = str(support), getattr(support, "cure", "Scale, round or shift the data, or use another likelihood.")
    return DATA.get(support, other)


def factors(fn: Any) -> Any:
    """The distribution of the single dimensions, if they are independent; else None."""
    while isinstance(fn, torch.distributions.Independent):
        fn = fn.base_dist
    return fn if fn.event_dim == 0 else None
