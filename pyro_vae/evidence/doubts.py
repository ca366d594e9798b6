"""Which estimates of log p(x) are not to be trusted, and the warnings that name them."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from .exploring import NEGLIGIBLE
from .limits import HEAVY, HOPELESS, STUCK
from .result import LogMarginal
from .words import data_points


class HeavyTail(UserWarning):
    """Data points whose weights have so heavy a tail, or whose chains moved so little, that neither their estimate nor
    its error can be trusted."""


def warn_of(
    result: LogMarginal, numbers: list[int], *, wide: bool = False, auto: bool = False, stacklevel: int
) -> None:
    """Warn of data points, given by their numbers, without a finite result, and of those whose is not to be trusted.

    A guide that is ``wide`` already is not advised to be widened, nor is "auto" advised where it was asked for.
    """
    count = data_points(len(result))
    if bad := int((~result.log_prob.isfinite()).sum()):
        warnings.warn(
            f"{result.quantity} is not finite for {bad:,} of {count}: every weight was zero, or one was not a number. "
            f"Find them with result.log_prob.isfinite().",
            stacklevel=stacklevel,
        )
    if heavy := int((result.khat > HEAVY).sum()):
        worst = result.khat.nan_to_num(-math.inf).argsort(descending=True)[: min(heavy, 5)].tolist()
        named = ", ".join(f"{numbers[i]} with {result.khat[i].item():.2f}" for i in worst)
        off = "may be off either way" if result.given else "is likely too low"  # a difference of two
        warnings.warn(
            f"k-hat is above {HEAVY} for {heavy:,} of {count} (the worst: number {named}): their {result.quantity} "
            f"{off}, by more than its standard error says. {_cure(result, wide=wide, auto=auto)}",
            HeavyTail,
            stacklevel=stacklevel,
        )
    if stuck := int((result.details.get("acceptance", torch.ones(len(result))) < STUCK).sum()):
        warnings.warn(
            f"Fewer than {STUCK:.0%} of the transitions were accepted for {stuck:,} of {count}: their chains have "
            f"hardly moved, and {result.quantity} may be far too low. Use more temperatures.",
            HeavyTail,
            stacklevel=stacklevel,
        )


def warn_of_errors(raised: Sequence[Exception], *, stacklevel: int) -> None:
    """Warn of errors that a pair raised at latents that its guide does not draw, one for each data point."""
    if raised:
        warnings.warn(
            f"The pair raised an error at latents that its guide does not draw, for {data_points(len(raised))}, which "
            f"stay with samples from the guide. The first: {raised[0]}",
            stacklevel=stacklevel,
        )


def samples_help(result: LogMarginal) -> bool:
    """Whether more samples can be expected to mend what is not to be trusted: not where k-hat is above 1, as weights
    without a mean have it, or because of what the proposals leave out, for at least half of it."""
    heavy = result.khat.masked_fill(leaving_out(result), math.inf)[result.khat > HEAVY]
    return bool(len(heavy)) and bool(heavy.median() <= HOPELESS)


def leaving_out(result: LogMarginal) -> Tensor:
    """Whether k-hat was set to at least 1, as proposals may leave out more than a negligible share of p(x), (N,)."""
    share = result.details.get("left_out", torch.zeros(len(result)))
    return (result.khat >= HOPELESS) & ~(share <= NEGLIGIBLE)


def _cure(result: LogMarginal, *, wide: bool, auto: bool) -> str:
    """What can help, for an estimate of this kind."""
    if "acceptance" in result.details:
        return "Use more temperatures" + (", or more chains." if samples_help(result) else ": more chains do not help.")
    cures = ["draw more samples"] if samples_help(result) else []
    if "rung" not in result.details:
        cures += [] if wide else ["widen the guide a little (pyro_vae.widened(guide, 1.1))"]
        cures += ["with few latents mix in the prior (defensive=0.1)", *([] if auto else ["use estimator='auto'"])]
    text = ", ".join([*cures, "or use annealed_log_marginal" if cures else "use annealed_log_marginal"])
    return f"{text[0].upper()}{text[1:]}{'.' if samples_help(result) else ': more samples do not help at such k-hat.'}"
