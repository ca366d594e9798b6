"""What speaks against the numbers of a comparison, in sentences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from .limits import FEWEST, HEAVY
from .words import sample_counts

if TYPE_CHECKING:
    from .comparison import Comparison

OTHER_PROPOSALS = 0.2  # difference of two models' shares of fitted proposals from which they were evaluated otherwise


def cautions(comparison: Comparison) -> Iterator[str]:
    """What speaks against the numbers of a comparison, a sentence each."""
    if len({" | " in quantity for quantity in comparison.quantity.values()}) > 1:
        each = "; ".join(f"{name} {quantity}" for name, quantity in comparison.quantity.items())
        yield f"Different quantities ({each}): a model that is told more has less to explain."
    if len({estimator for made_by in comparison.estimators.values() for estimator in made_by}) > 1:
        each = "; ".join(f"{name} by {' and '.join(by)}" for name, by in comparison.estimators.items() if by)
        yield (
            f"Different estimators ({each}): part of a difference may be theirs, for each is too low by its own bias."
        )
    if len(set(comparison.num_samples.values())) > 1:
        each = ", ".join(f"{name} {sample_counts(*counts)}" for name, counts in comparison.num_samples.items())
        yield (
            f"Different numbers of samples ({each}): a bound from fewer lies lower, and part of a difference may be "
            f"theirs."
        )
    if max(comparison.fitted.values()) - min(comparison.fitted.values()) >= OTHER_PROPOSALS:
        each = ", ".join(f"{name} for {share:.0%}" for name, share in comparison.fitted.items())
        yield (
            f"Different proposals: fitted to the data point ({each}) or the guide; the guide's bounds may lie lower by "
            f"more than their errors say."
        )
    if any(comparison.unreliable.values()):
        yield (
            f"Not to be trusted, k-hat above {HEAVY}: {_each(comparison, comparison.unreliable)}; they are likely too "
            f"low, by more than their error says."
        )
    if any(comparison.undecided.values()):
        yield (
            f"Too few samples to tell whether to trust them, fewer than {FEWEST} for a k-hat: "
            f"{_each(comparison, comparison.undecided)}."
        )
    single, pairs = ([name for name, count in comparison.num_seeds.items() if count == few] for few in (1, 2))
    if 0 < len(single) < len(comparison.num_seeds):
        yield (
            f"One seed of {', '.join(single)}: what another training run would give is not known, nor whether a "
            f"difference to {'it' if len(single) == 1 else 'them'} is one of the models."
        )
    if pairs:
        yield (
            f"Two seeds ({', '.join(pairs)}) are too few: the spread of two runs is hardly known, and intervals are "
            f"wide by that or, now and then, far too narrow."
        )


def _each(comparison: Comparison, counts: Mapping[str, int]) -> str:
    seeds, points = comparison.num_seeds, comparison.num_data_points
    return ", ".join(f"{name} {count:,} of {seeds[name] * points:,}" for name, count in counts.items())
