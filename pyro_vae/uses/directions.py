"""Directions in the space of codes that stand for an attribute, and what lies along them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..arguments.at_least import at_least
from ..pairs.inputs import Inputs, as_points
from ..pairs.modules import Callee
from .generate import decode, each_site
from .latent_walks import kept_in, top_site

TOGETHER = 1000  # data points


def attribute_direction(model: Callee, guide: Callee, x: Inputs, has: Tensor, *, lacks: Tensor | None = None) -> Tensor:
    """Mean code of the data points that have an attribute, less that of those that lack it: (D,), of the first site.

    Args:
        model, guide: the pair.
        x: data (N, ...).
        has: which of them have it, truth values (N,).
        lacks: which lack it; by default all others.

    Raises:
        ValueError: nobody has it, or nobody lacks it; latents that are not vectors.

    Reference:
        White 2016, "Sampling generative networks"; Radford, Metz, Chintala 2016 (with generative adversarial networks).
    """
    points = as_points("x", x, model, guide)
    lacks = has.logical_not() if lacks is None else lacks
    for chosen, do in ((has, "have"), (lacks, "lack")):
        if chosen.dtype is not torch.bool or chosen.shape != (len(points),):
            raise ValueError(
                f"Expected truth values of shape ({len(points)},) that say which data points {do} it; got "
                f"{chosen.dtype} of shape {tuple(chosen.shape)}."
            )
        if not chosen.any():
            raise ValueError(f"Expected data points that {do} the attribute; got none.")
    codes = torch.cat([top_site(model, guide, part)[1] for part in points.split(TOGETHER)])
    return codes[has.to(codes.device)].mean(0) - codes[lacks.to(codes.device)].mean(0)


def along(model: Callee, guide: Callee, x: Inputs, direction: Tensor, *, amounts: Tensor) -> Any:
    """What data points become as their codes are moved along a direction; levels below are drawn from the model.

    Args:
        model, guide: the pair.
        x: data (N, ...).
        direction: (D,), such as an `attribute_direction`.
        amounts: how far to go, in lengths of the direction, (S,); 0 is the code itself.

    Returns:
        Data (N, S, ...).

    Raises:
        ValueError: a direction of another size than the codes, or codes that would leave the support of the latents.
    """
    points = as_points("x", x, model, guide)
    name, codes, support = top_site(model, guide, points)
    if direction.shape != codes.shape[1:]:
        raise ValueError(f"Expected a direction of shape {tuple(codes.shape[1:])}; got {tuple(direction.shape)}.")
    at_least(1, number_of_amounts=len(amounts))
    moved = codes[:, None] + amounts.to(codes)[:, None] * direction.to(codes)  # (N, S, D)
    like = points[torch.arange(len(points), device=points.device).repeat_interleave(len(amounts))]
    decoded = decode(model, {name: kept_in(support, moved.flatten(0, 1))}, like)
    return each_site(lambda data: data.unflatten(0, moved.shape[:2]), decoded)
