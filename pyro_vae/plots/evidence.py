"""Figures of estimates of log p(x): how they converge, and which data points they cannot be trusted for."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from ..evidence import LogMarginal
from ..evidence.result import HEAVY
from . import BLUE, GREY, INK, tidy, tile

RED = "#c0392b"


def convergence_figure(result: LogMarginal, *, title: str = "") -> Figure:
    """The mean bound on log p(x) against the number of samples K, all from the same weights, and how fast it rises."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = result.convergence()
    counts, means, errors = (np.array(column) for column in zip(*rows, strict=True))
    left.errorbar(counts, means, yerr=2 * np.nan_to_num(errors), fmt="o-", color=BLUE, capsize=3)
    left.set_ylabel("mean bound on log p(x), nats")
    right.bar(range(1, len(rows)), np.diff(means), color=BLUE)
    right.set_xticks(range(1, len(rows)), [f"{a:,} to {b:,}" for a, b in itertools.pairwise(counts)], rotation=20)
    right.set_ylabel("rise, nats")
    left.set_xscale("log")
    left.set_xlabel("samples K; bars of two Monte Carlo standard errors")
    for axes in (left, right):
        tidy(axes)
    figure.suptitle(title, fontsize=11, color=INK)
    return figure


def khat_figure(result: LogMarginal, images: Tensor, *, title: str = "", worst: int = 16) -> Figure:
    """k-hat of each data point, the limit of trust, and those with the largest ones, where they are images."""
    drawable = images.dim() == 4 and images.shape[1] in (1, 3)  # flat data have no pictures
    figure = Figure(figsize=(10 if drawable else 6, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2]) if drawable else (figure.subplots(), None)
    order = result.khat.nan_to_num(-1.0, 9.0, -1.0).argsort()
    values = result.khat[order].clamp(-1, 2).numpy()
    colours = np.where(values > HEAVY, RED, BLUE)
    left.scatter(np.arange(len(values)), values, c=colours, s=8, linewidths=0)
    left.axhline(HEAVY, color=GREY, linewidth=1)
    left.set_xlabel("data points, by k-hat")
    left.set_ylabel("k-hat of the weights")
    bad = int((result.khat > HEAVY).sum())
    left.set_title(f"{bad:,} of {len(result):,} above {HEAVY}, the limit of trust", fontsize=10, color=INK)
    tidy(left)
    if right is not None:
        largest = order.flip(0)[:worst]
        right.imshow(tile(images[largest], columns=4), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        least, most = (result.khat[largest[i]].item() for i in (-1, 0))
        right.set_title(f"the {len(largest)} largest: {least:.2f} to {most:.2f}", fontsize=10)
        right.set_axis_off()
    figure.suptitle(title, fontsize=11, color=INK)
    return figure


def gap_figure(lower: Tensor, upper: Tensor, *, title: str = "") -> Figure:
    """Lower against upper bound of each simulated data point, and the gaps between them."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(lower.numpy(), upper.numpy(), "o", color=BLUE, markersize=3)
    ends = [min(lower.min().item(), upper.min().item()), max(lower.max().item(), upper.max().item())]
    left.plot(ends, ends, color=GREY, linewidth=1, zorder=0)
    left.set_xlabel("lower bound, forward chains, nats")
    left.set_ylabel("upper bound, reverse chains, nats")
    gap = (upper - lower).numpy()
    right.hist(gap, bins=min(40, max(5, len(gap) // 5)), color=BLUE)
    right.axvline(gap.mean(), color=INK, linewidth=1)
    right.annotate(f" mean {gap.mean():.3f}", (gap.mean(), 1), xycoords=("data", "axes fraction"), va="top", color=INK)
    right.set_xlabel("gap, nats")
    right.set_ylabel("simulated data points")
    for axes in (left, right):
        tidy(axes)
    figure.suptitle(title, fontsize=11, color=INK)
    return figure
