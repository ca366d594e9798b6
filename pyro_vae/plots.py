"""Figures. Each function takes arrays and returns a matplotlib figure; nothing touches pyplot's global state."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from .compare import Comparison, Estimate
from .diagnostics import Diagnostics, Measured
from .evidence import LogMarginal

INK, BLUE, GREY = "#222222", "#2f6fb0", "#9aa3ab"


def tile(images: Tensor, *, columns: int) -> np.ndarray:
    """Images (N, C, H, W) in [0, 1] as one picture, (rows of H, columns of W, 1 or 3), a white line between them.

    Raises:
        ValueError: flat data, or a number of channels that cannot be drawn.
    """
    if images.dim() != 4 or images.shape[1] not in (1, 3):
        raise ValueError(
            f"Expected images of shape (N, 1 or 3, H, W) to draw; got {tuple(images.shape)}. Flat data have no "
            f"picture: give the data set as images."
        )
    count, channels, height, width = images.shape
    rows = math.ceil(count / columns)
    gap = max(1, height // 14)
    page = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), dtype=np.float32)
    for i, image in enumerate(images.detach().cpu().clamp(0, 1).permute(0, 2, 3, 1).numpy()):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        page[top : top + height, left : left + width] = image
    return page


def image_grid(images: Tensor, *, columns: int = 8, title: str = "") -> Figure:
    """Images (N, C, H, W) in rows."""
    return image_panels({title: images}, columns=columns)


def image_panels(panels: dict[str, Tensor], *, columns: int = 8) -> Figure:
    """Several titled grids of images side by side."""
    pages = {title: tile(images, columns=columns) for title, images in panels.items()}
    ratios = [page.shape[1] / page.shape[0] for page in pages.values()]
    width = min(12.0, 4.2 * sum(ratios) + 0.4)
    layout = ConstrainedLayoutEngine(wspace=0.06)
    figure = Figure(figsize=(max(width, 4.0), width / sum(ratios) + 0.5), layout=layout)
    all_axes = figure.subplots(1, len(pages), width_ratios=ratios, squeeze=False)[0]
    for axes, (title, page) in zip(all_axes, pages.items(), strict=True):
        axes.imshow(page, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(title, color=INK, fontsize=11)
        axes.set_axis_off()
    return figure


def beside(originals: Tensor, reconstructions: Tensor, *, columns: int = 8) -> Tensor:
    """Rows of originals with their reconstructions right below, for `image_grid` with the same columns."""
    pad = [originals.new_ones(-len(originals) % columns, *originals.shape[1:])]  # white, so that rows stay pairs
    originals, reconstructions = torch.cat([originals, *pad]), torch.cat([reconstructions, *pad])
    rows = zip(originals.split(columns), reconstructions.split(columns), strict=True)
    pairs = [image for original, reconstruction in rows for image in (*original, *reconstruction)]
    return torch.stack(pairs)


def training_curves(history: Sequence[dict[str, float]], *, title: str = "") -> Figure:
    """Training and validation loss by epoch, and the rate and distortion of the validation images."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [entry["epoch"] for entry in history]
    marker = "o" if len(history) < 10 else ""
    left.plot(epochs, [entry["loss"] for entry in history], color=GREY, marker=marker, label="training loss")
    if "validation_elbo" in history[0]:
        left.plot(
            epochs,
            [-entry["validation_elbo"] for entry in history],
            color=BLUE,
            marker=marker,
            label="-ELBO, validation",
        )
        right.plot(
            epochs, [entry["validation_distortion"] for entry in history], color=BLUE, marker=marker, label="distortion"
        )
        right.plot(epochs, [entry["validation_rate"] for entry in history], color=INK, marker=marker, label="rate")
        right.set_ylim(bottom=0)
        right.legend(frameon=False)
    if len(history) >= 10:  # the first epochs are far above the rest; without them the curve shows what happens
        losses = [-entry.get("validation_elbo", -entry["loss"]) for entry in history]
        lowest, highest = min(*losses, *[entry["loss"] for entry in history]), max(losses[len(losses) // 10 :])
        span = highest - min(losses) or 1.0
        left.set_ylim(lowest - 0.05 * span, highest + span)
    left.legend(frameon=False)
    for axes in (left, right):
        tidy(axes)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    left.set_ylabel("nats per image")
    figure.suptitle(title, fontsize=11, color=INK)
    return figure


def log_marginal_histogram(result: LogMarginal, *, title: str = "") -> Figure:
    """How log p(x) spreads over the images."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    axes.hist(result.log_prob.numpy(), bins=min(50, max(5, len(result) // 10)), color=BLUE)
    axes.axvline(result.mean, color=INK, linewidth=1)
    axes.annotate(f" mean {result.mean:.2f}", (result.mean, 1), xycoords=("data", "axes fraction"), va="top", color=INK)
    axes.set_xlabel("log p(x), nats")
    axes.set_ylabel("images")
    axes.set_title(title, fontsize=11, color=INK)
    tidy(axes)
    return figure


def comparison_figure(comparison: Comparison, *, title: str = "") -> Figure:
    """log p(x) by model with 95% intervals, and the paired differences to the best model."""
    names = sorted(comparison.log_marginal, key=lambda name: comparison.log_marginal[name].value)
    best = names[-1]
    differences = {name: _difference(comparison, name, best) for name in names[:-1]}
    figure = Figure(figsize=(10, 1.5 + 0.55 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _intervals(left, names, [comparison.log_marginal[name] for name in names])
    left.set_xlabel("log p(x), nats per image, 95% interval")
    _intervals(right, names[:-1], list(differences.values()))
    right.plot([0], [len(names) - 1], "o", color=GREY)
    right.axvline(0, color=GREY, linewidth=1, zorder=0)
    right.set_xlabel("paired difference to the best, nats, 95% interval")
    left.set_yticks(range(len(names)), names)
    left.set_ylim(-0.6, len(names) - 0.4)
    for axes in (left, right):
        tidy(axes)
    figure.suptitle(title, fontsize=11, color=INK)
    return figure


def _difference(comparison: Comparison, name: str, other: str) -> Estimate:
    if (name, other) in comparison.differences:
        return comparison.differences[name, other]
    e = comparison.differences[other, name]
    return Estimate(-e.value, e.standard_error, -e.high, -e.low)


def _intervals(axes: Axes, names: Sequence[str], estimates: Sequence[Estimate]) -> None:
    values = [e.value for e in estimates]
    below, above = [e.value - e.low for e in estimates], [e.high - e.value for e in estimates]
    axes.errorbar(values, range(len(names)), xerr=[below, above], fmt="o", color=BLUE, capsize=3)


def tidy(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=9)


def diagnostics_figure(result: Diagnostics, *, title: str = "") -> Figure:
    """Nats of each latent dimension, largest first, active ones in blue; and rate and distortion with their split."""
    figure = Figure(figsize=(10, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=[3, 2])
    known = result.information is not None and result.information_error is not None
    values, errors = (
        (result.information, result.information_error) if known else (result.variance, result.variance_error)
    )
    assert values is not None
    assert errors is not None
    order = values.argsort(descending=True)
    active = result.active_by_variance[order]
    places = range(len(order))
    left.bar(places, values[order].numpy(), yerr=2 * errors[order].numpy(), ecolor=INK, error_kw={"linewidth": 0.8})
    for bar, is_active in zip(left.patches, active.tolist(), strict=True):
        bar.set_color(BLUE if is_active else GREY)
    names = [result.dimensions[d] for d in order.tolist()]
    left.set_xticks(places, names, rotation=90, fontsize=7) if len(names) <= 60 else left.set_xticks([])
    left.set_ylabel(f"{result.convention}, nats" if known else "variance of E[z|x]", fontsize=9)
    left.set_title(f"{int(active.sum())} of {len(names)} active (blue): variance of E[z|x] > 0.01", fontsize=10)
    parts: dict[str, Measured | None] = {
        "distortion": result.distortion,
        "rate": result.rate,
        "I(x;z), at least": result.mutual_information,
        "KL(q(z)||p(z)), at most": result.marginal_kl,
    }
    shown = {name: part for name, part in parts.items() if part is not None}
    right.barh(
        range(len(shown)),
        [part.value for part in shown.values()],
        xerr=[2 * part.standard_error for part in shown.values()],
        color=[GREY, BLUE, BLUE, BLUE][: len(shown)],
    )
    for place, part in enumerate(shown.values()):
        end = max(part.value, 0) + 2 * part.standard_error
        right.annotate(f"  {part.value:.2f}", (end, place), va="center", fontsize=9, color=INK)
    right.set_yticks(range(len(shown)), list(shown))
    right.invert_yaxis()
    right.margins(x=0.15)
    right.set_xlabel("nats per image")
    right.set_title(f"ELBO {result.elbo.value:.2f}; bars of two standard errors", fontsize=10)
    for axes in (left, right):
        tidy(axes)
    left.tick_params(axis="x", labelsize=7)
    figure.suptitle(title, fontsize=11, color=INK)
    return figure
