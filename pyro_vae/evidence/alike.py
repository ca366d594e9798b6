"""What results must have in common for their difference to mean something."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch

from .result import LogMarginal

PLURAL = {"density": "densities", "probability": "probabilities", "mixed": "products of both"}


def require_alike(results: Sequence[LogMarginal]) -> None:
    """Raise a ValueError unless all are results of the same data points, at least two, in the same order."""
    counts = sorted({len(result) for result in results})
    if len(counts) > 1 or counts[0] < 2:
        raise ValueError(
            f"Expected all runs evaluated on the same data points, at least 2; got numbers of data points {counts}. "
            f"Evaluate them again on the same data."
        )
    digests = [result.digests for result in results if result.digests is not None]
    for other in digests[1:]:
        if not torch.equal(digests[0], other):
            same = torch.equal(digests[0].sort().values, other.sort().values)
            raise ValueError(
                f"Expected all runs evaluated on the same data points in the same order; got "
                f"{'the same ones in another order' if same else 'other ones'}, though as many. Evaluate them again on "
                f"the same tensor."
            )


def require_one_quantity(runs: Mapping[str, Sequence[LogMarginal]]) -> None:
    """Raise a ValueError where results count different values of a data point, or are conditional on different ones:
    sites may have other names, and be split otherwise, but hold as many values."""
    require_same_values(
        (name, result.quantity, sum(result.sites.values()), sum(result.given.values()))
        for name, results in runs.items()
        for result in results
        if result.sites
    )


def require_same_values(counted: Iterable[tuple[str, str, int, int]]) -> None:
    """Raise a ValueError that names the first model of each where numbers of values differ, given a model's name, its
    quantity, and how many values of a data point are counted and given."""
    sizes: dict[tuple[int, int], str] = {}
    for name, quantity, values, given in counted:
        sizes.setdefault((values, given), f"{quantity} of {values:,} values ({name})")
    if len(sizes) > 1:
        raise ValueError(
            f"Expected results about the same values of each data point; got {' and '.join(sizes.values())}, whose "
            f"difference says nothing of the models. Observe the same in each, or give the rest: given=[...]; an "
            f"exposure is given, and not counted: let all of them take it, or none."
        )


def require_one_kind(measures: Iterable[tuple[str, str]]) -> None:
    """Raise a ValueError that names them where both densities and probabilities are among pairs of a model's name and
    its measure."""
    kinds: dict[str, list[str]] = {}
    for name, measure in measures:
        kinds.setdefault(measure, []).append(name)
    if len(kinds) > 1:
        both = " and ".join(
            f"{PLURAL.get(measure, measure)} ({', '.join(kinds[measure])})" for measure in sorted(kinds)
        )
        raise ValueError(
            f"Expected log p(x) of one kind; got {both}, whose difference means nothing. Compare likelihoods of one "
            f"kind."
        )
