"""Which estimates of log p(x) are not to be trusted, and the warnings that name them."""

from __future__ import annotations

import math
import warnings

import torch

from .result import HEAVY, STUCK, LogMarginal


class HeavyTail(UserWarning):
    """Data points whose weights have so heavy a tail, or whose chains moved so little, that neither their estimate nor
    its error can be trusted."""


def warn_of(result: LogMarginal, numbers: list[int], *, stacklevel: int) -> None:
    """Warn of data points, given by their numbers, without a finite result, and of those whose is not to be trusted."""
    count = f"{len(result):,} data points"
    if bad := int((~result.log_prob.isfinite()).sum()):
        warnings.warn(
            f"log p(x) is not finite for {bad:,} of {count}: every weight was zero, or one was not a number. Find them "
            f"with result.log_prob.isfinite().",
            stacklevel=stacklevel,
        )
    if heavy := int((result.khat > HEAVY).sum()):
        worst = result.khat.nan_to_num(-math.inf).argsort(descending=True)[: min(heavy, 5)].tolist()
        named = ", ".join(f"{numbers[i]} with {result.khat[i].item():.2f}" for i in worst)
        off = "is likely too low, by more than its standard error says"
        if result.given:  # a difference of two
            off = "may be off either way, by more than its standard error says"
        cures = "Draw more samples, "
        if not result.details.get("rung", torch.zeros(1)).any():  # a fitted proposal does not ask how wide the guide is
            cures += (
                "widen the guide a little (pyro_vae.widened(guide, 1.1)), with few latents mix in the prior "
                "(defensive=0.1), "
            )
        warnings.warn(
            f"k-hat is above {HEAVY} for {heavy:,} of {count} (the worst: number {named}): their log p(x) {off}. "
            f"{cures}or use annealed_log_marginal.",
            HeavyTail,
            stacklevel=stacklevel,
        )
    if stuck := int((result.details.get("acceptance", torch.ones(len(result))) < STUCK).sum()):
        warnings.warn(
            f"Fewer than {STUCK:.0%} of the transitions were accepted for {stuck:,} of {count}: their chains have "
            f"hardly moved, and log p(x) may be far too low. Use more temperatures.",
            HeavyTail,
            stacklevel=stacklevel,
        )
