"""What speaks against the numbers of a comparison, in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from .limits import FEWEST, HEAVY

if TYPE_CHECKING:
    from .comparison import Comparison

OTHER_PROPOSALS = 0.2  # difference of two models' shares of fitted proposals from which they were evaluated otherwise


def over(num_seeds: Mapping[str, int]) -> str:
    """What intervals of models with so many seeds are over."""
    single = [name for name, count in num_seeds.items() if count == 1]
    if len(single) == len(num_seeds):
        return "data points alone (one seed)"
    return "data points and seeds" + (f", over data points alone for {', '.join(single)} (one seed)" if single else "")


def cautions(comparison: Comparison) -> list[str]:
    """What speaks against the numbers of a comparison, a sentence each."""
    kinds = (_conditions, _estimators, _counts, _proposals, _tails, _too_few)
    found = [*(kind(comparison) for kind in kinds), *_seeds(comparison.num_seeds)]
    return [sentence for sentence in found if sentence]


def _conditions(comparison: Comparison) -> str:
    if len({" | " in quantity for quantity in comparison.quantity.values()}) < 2:
        return ""
    each = "; ".join(f"{name} {quantity}" for name, quantity in comparison.quantity.items())
    return f"Different quantities ({each}): a model that is told more has less to explain."


def _estimators(comparison: Comparison) -> str:
    if len({estimator for made_by in comparison.estimators.values() for estimator in made_by}) < 2:
        return ""
    each = (f"{name} by {' and '.join(made_by)}" for name, made_by in comparison.estimators.items() if made_by)
    return (
        f"Different estimators ({'; '.join(each)}): part of a difference may be theirs, for each is too low by its own "
        f"bias."
    )


def _counts(comparison: Comparison) -> str:
    if len(set(comparison.num_samples.values())) < 2:
        return ""
    each = (f"{name} {sample_counts(*counts)}" for name, counts in comparison.num_samples.items())
    return (
        f"Different numbers of samples ({', '.join(each)}): a bound from fewer lies lower, and part of a difference "
        f"may be theirs."
    )


def _proposals(comparison: Comparison) -> str:
    if max(comparison.fitted.values()) - min(comparison.fitted.values()) < OTHER_PROPOSALS:
        return ""
    each = (f"{name} for {share:.0%}" for name, share in comparison.fitted.items())
    return (
        f"Different proposals: fitted to the data point ({', '.join(each)}) or the guide; the guide's bounds may lie "
        f"lower by more than their errors say."
    )


def _tails(comparison: Comparison) -> str:
    if not any(comparison.unreliable.values()):
        return ""
    return (
        f"Not to be trusted, k-hat above {HEAVY}: {_each(comparison, comparison.unreliable)}; they are likely too low, "
        f"by more than their error says."
    )


def _too_few(comparison: Comparison) -> str:
    if not any(comparison.undecided.values()):
        return ""
    return (
        f"Too few samples to tell whether to trust them, fewer than {FEWEST} for a k-hat: "
        f"{_each(comparison, comparison.undecided)}."
    )


def _each(comparison: Comparison, counts: Mapping[str, int]) -> str:
    seeds, points = comparison.num_seeds, comparison.num_data_points
    return ", ".join(f"{name} {count:,} of {seeds[name] * points:,}" for name, count in counts.items())


def _seeds(num_seeds: Mapping[str, int]) -> list[str]:
    single = [name for name, count in num_seeds.items() if count == 1]
    pairs = [name for name, count in num_seeds.items() if count == 2]
    found = []
    if single and len(single) < len(num_seeds):
        found.append(
            f"One seed of {', '.join(single)}: what another training run would give is not known, nor whether a "
            f"difference to {'it' if len(single) == 1 else 'them'} is one of the models."
        )
    if pairs:
        found.append(
            f"Two seeds ({', '.join(pairs)}) are too few: the spread of two runs is hardly known, and intervals are "
            f"wide by that or, now and then, far too narrow."
        )
    return found


def sample_counts(least: int, most: int) -> str:
    """How many samples, or from how many to how many."""
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
