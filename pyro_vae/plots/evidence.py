"""Figures of estimates of log p(x): how they converge, and which data points they cannot be trusted for."""

from __future__ import annotations

import itertools

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from ..evidence import Bracket, LogMarginal, RateDistortion
from ..evidence.bracket import FROM_ABOVE, NAMES
from ..evidence.limits import HEAVY
from .charts import BLUE, COLUMN, GREY, INK, LABEL_SIZE, PAGE, RED, finished, mark_mean
from .images import broken, show, tile


def convergence_figure(result: LogMarginal, *, title: str = "") -> Figure:
    """The mean bound on log p(x) against the number of samples K, all from the same weights, and how fast it rises."""
    figure = Figure(figsize=(PAGE, 2.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    rows = result.convergence()
    counts, means, errors = (np.array(column) for column in zip(*rows, strict=True))
    width = 2 * np.nan_to_num(errors)
    left.fill_between(counts, means - width, means + width, color=BLUE, alpha=0.25, linewidth=0)
    left.errorbar(counts, means, yerr=width, fmt="o-", color=BLUE, capsize=2, markersize=3, linewidth=1.2)
    bound = broken(f"mean bound on {result.quantity}, nats", width=1.9, size=LABEL_SIZE)
    left.set(xscale="log", xlabel="samples K", ylabel=bound)
    left.set_title(f"with two Monte Carlo standard errors, {width[-1]:.2g} at the end", fontsize=LABEL_SIZE)
    rises = np.diff(means)
    right.bar(range(1, len(rows)), rises, color=BLUE, width=0.6)
    for place, rise in enumerate(rises, 1):
        right.annotate(f"{rise:.2f}", (place, max(rise, 0)), ha="center", va="bottom", fontsize=LABEL_SIZE, color=INK)
    right.set_xticks(range(1, len(rows)), [f"{a:,} to {b:,}" for a, b in itertools.pairwise(counts)])
    right.margins(y=0.15)
    right.set(xlabel="samples K, from and to", ylabel="rise of the mean, nats")
    finished(figure, title)
    right.tick_params(axis="x", labelsize=LABEL_SIZE - 1)
    return figure


def khat_figure(result: LogMarginal, images: Tensor, *, title: str = "", worst: int = 16) -> Figure:
    """k-hat of each data point, the limit of trust, and those with the largest ones, where they are images."""
    drawable = images.dim() == 4 and images.shape[1] in (1, 3)  # flat data have no pictures
    figure = Figure(figsize=(PAGE if drawable else COLUMN, 2.7), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2]) if drawable else (figure.subplots(), None)
    known = result.khat.isfinite().nonzero()[:, 0]
    order = known[result.khat[known].argsort()]
    values = result.khat[order].numpy()
    left.scatter(np.arange(len(values)), values, c=np.where(values > HEAVY, RED, BLUE), s=7, linewidths=0)
    left.axhline(HEAVY, color=GREY, linewidth=1)
    without = len(result) - len(known)
    left.set_xlabel(f"data points, by k-hat{f'; {without:,} without one' if without else ''}")
    left.set_ylabel("k-hat of the weights")
    bad = int((result.khat > HEAVY).sum())
    left.set_title(f"{bad:,} of {len(result):,} above {HEAVY}, the limit of trust", fontsize=LABEL_SIZE, color=INK)
    if right is not None:
        largest = order.flip(0)[:worst]
        least, most = (result.khat[largest[i]].item() for i in (-1, 0))
        show(right, tile(images[largest], columns=4), interpolation="nearest")
        right.set_title(f"the {len(largest)} largest: {least:.2f} to {most:.2f}", fontsize=LABEL_SIZE)
    return finished(figure, title)


def gap_figure(lower: Tensor, upper: Tensor, *, title: str = "") -> Figure:
    """Lower against upper bound of each simulated data point, and the gaps between them."""
    figure = Figure(figsize=(PAGE, 2.7), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(lower.numpy(), upper.numpy(), "o", color=BLUE, markersize=3)
    ends = [min(lower.min().item(), upper.min().item()), max(lower.max().item(), upper.max().item())]
    left.plot(ends, ends, color=GREY, linewidth=1, zorder=0)
    left.set(xlabel="lower bound, forward chains, nats", ylabel="upper bound, reverse chains, nats")
    gap = (upper - lower).numpy()
    right.hist(gap, bins=min(40, max(5, len(gap) // 5)), color=BLUE)
    mark_mean(right, gap.mean(), digits=3)
    right.set(xlabel="gap, nats", ylabel="simulated data points")
    return finished(figure, title)


def bracket_figure(result: Bracket, *, title: str = "") -> Figure:
    """The means of bounds on log p(x) of simulated data, those from below in blue, those from above in red; relative to
    the default estimate, for the spread of the data is common to them all."""
    figure = Figure(figsize=(COLUMN, 2.4), layout="constrained")
    axes = figure.subplots()
    default = result.lower.mean
    axes.errorbar(0, 1, xerr=2 * default.monte_carlo_error, fmt="o", color=BLUE, capsize=2, markersize=4)
    for name, mean in result.above_default.items():
        row, colour = list(NAMES).index(name), RED if name in FROM_ABOVE else BLUE
        axes.errorbar(mean.value, row, xerr=2 * mean.standard_error, fmt="o", color=colour, capsize=2, markersize=4)
    axes.axvline(0, color=GREY, linewidth=1, zorder=0)
    axes.set_yticks(range(len(NAMES)), list(NAMES.values()))
    axes.set(ylim=(len(NAMES) - 0.5, -0.5), xlabel="nats above the default estimate; lines: two standard errors")
    what = f"{len(result):,} simulated data points, default {default.value:.2f}"
    axes.set_title(what, fontsize=LABEL_SIZE, color=INK)
    return finished(figure, title)


def rate_distortion_figure(result: RateDistortion, *, title: str = "") -> Figure:
    """Mean distortion against mean rate, a curve from above; for simulated data, the line that bounds it from below."""
    figure = Figure(figsize=(COLUMN, 2.7), layout="constrained")
    axes = figure.subplots()
    betas, rates, distortions = zip(*result.curve, strict=True)
    rate, distortion = (np.array([mean.value for mean in means]) for means in (rates, distortions))
    axes.plot(rate, distortion, color=BLUE, linewidth=1.4, label="annealed chains, from above")
    at = int(np.abs(np.array(betas) - 1).argmin())
    axes.plot(rate[at], distortion[at], "o", color=BLUE, markersize=4)
    axes.annotate(" beta 1", (rate[at], distortion[at]), va="bottom", color=INK, size=LABEL_SIZE)
    if result.from_below is not None:
        reach = 0.25 * (distortion.max() - distortion.min())
        ends = np.array([distortion[at] + reach, max(distortion[at] - reach, distortion.min())])
        axes.plot(result.from_below.value - ends, ends, color=RED, linewidth=1, linestyle="--", label="from below")
    axes.set(xlabel="rate, nats", ylabel="distortion, -E[log p(x|z)], nats")
    what = "simulated data points" if result.least_sum is not None else "data points"
    axes.set_title(f"{len(result):,} {what}", fontsize=LABEL_SIZE)
    axes.legend(frameon=False, fontsize=LABEL_SIZE)
    return finished(figure, title)
