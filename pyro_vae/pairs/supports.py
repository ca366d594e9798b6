"""Where the values of a distribution live."""

from __future__ import annotations

from typing import Any

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import biject_to, constraints
from torch.distributions.constraints import Constraint, MixtureSameFamilyConstraint


def is_point_mass(fn: Any) -> bool:
    """Whether a distribution is a Delta, or made of one."""
    while hasattr(fn, "base_dist"):
        fn = fn.base_dist
    return isinstance(fn, dist.Delta)


def support_of(fn: Any) -> Constraint | None:
    """The support of a distribution; None for one that does not say, as a user's own may."""
    try:
        support = fn.support
    except NotImplementedError:
        return None
    return support.base_constraint if isinstance(support, MixtureSameFamilyConstraint) else support  # torch wraps it


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
        "Give counts as floats that are whole numbers (array files: uint8 is divided by 255, so save another type, "
        "with `.astype('int64')`), or use Gaussian.",
    ),
    constraints.one_hot: ("one-hot vectors", "Encode them with torch.nn.functional.one_hot(k).float()."),
    constraints.unit_interval: (
        "0 to 1",
        "Scale 8-bit images by 1/255, other data by their range, or use Gaussian.",
    ),
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
