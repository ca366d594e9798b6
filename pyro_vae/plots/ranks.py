"""The figure of a guide's calibration: where it is too narrow, too wide or shifted."""

from __future__ import annotations

import scipy.stats
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..uses.calibration import Calibration
from .charts import BLUE, GREY, INK, LABEL_SIZE, PAGE, RED, finished

SHOWN, BINS = 4, 20


def calibration_figure(result: Calibration, *, title: str = "") -> Figure:
    """Shift and width of each latent dimension, with two standard errors, in red where it does not fit; and the ranks
    in the dimensions that are farthest off, with the band that holds 95% of the bars where the guide fits."""
    figure = Figure(figsize=(PAGE, 4.4), layout="constrained")
    count = min(SHOWN, len(result.dimensions))
    above, below = figure.subfigures(2, 1, height_ratios=[1.15, 1], squeeze=False)[:, 0]
    colours = [BLUE if verdict == "fits" else RED for verdict in result.verdicts]
    places = torch.arange(len(result.dimensions))
    for axes, (values, errors, ideal, label) in zip(
        above.subplots(1, 2),
        (
            (result.shift, result.shift_error, 0.0, "posterior's place,\nin s.d. of the guide"),
            (result.width, result.width_error, 1.0, "posterior's width,\nrelative to the guide's"),
        ),
        strict=True,
    ):
        axes.axhline(ideal, color=GREY, linewidth=1)
        axes.vlines(places, values - 2 * errors, values + 2 * errors, colors=colours, linewidth=1)
        axes.scatter(places, values, c=colours, s=9, linewidths=0, zorder=3)
        few = len(result.dimensions) <= SHOWN * 10
        axes.set_xticks(places.tolist() if few else [], result.dimensions if few else [], rotation=90)
        axes.set_ylabel(label)
    off = (result.shift / result.shift_error).abs() + ((result.width - 1) / result.width_error).abs()
    for column, place in enumerate(off.nan_to_num(0.0).argsort(descending=True)[:count].tolist()):
        axes = below.add_subplot(1, count, column + 1)
        _ranks(axes, result, place, colours[place])
        axes.set_title(f"{result.dimensions[place]}: {result.verdicts[place]}", fontsize=LABEL_SIZE, color=INK)
        axes.set_ylabel("simulated data points" if column == 0 else "")
    finished(figure, title)
    for axes in above.axes:
        axes.tick_params(axis="x", labelsize=6)
    return figure


def _ranks(axes: Axes, result: Calibration, place: int, colour: str) -> None:
    """A histogram of ranks, in bins of as many possible ranks as can be."""
    possible = result.num_draws + 1
    bins = next(count for count in range(min(BINS, possible), 0, -1) if possible % count == 0)
    counts = (result.ranks[:, place] * bins // possible).bincount(minlength=bins)
    low, high = scipy.stats.binom.interval(0.95, len(result.ranks), 1 / bins)
    axes.axhspan(low, high, color=GREY, alpha=0.35, linewidth=0)
    axes.bar(range(bins), counts.numpy(), width=0.9, color=colour, align="edge")
    axes.set_xticks([0, bins], ["0", f"{result.num_draws:,}"])
    axes.set_xlabel("rank of the simulated latent")
