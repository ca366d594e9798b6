"""Figures. Each function takes arrays or a pair and returns a matplotlib figure; pyplot's state is not touched."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from PIL import Image
from torch import Tensor

from .compare import Comparison, Estimate
from .diagnostics import Diagnostics, Measured
from .evidence import LogMarginal
from .generate import Path, between, manifold, reconstruct, sample, traverse
from .pairs import Callee

INK, BLUE, GREY = "#222222", "#2f6fb0", "#9aa3ab"


def tile(images: Tensor, *, columns: int, rows: int | None = None, gap: int | None = None) -> np.ndarray:
    """Images (N, C, H, W) in [0, 1] as one picture, (rows of H, columns of W, 1 or 3), a white line between them.

    Args:
        images: grey or colour; values outside [0, 1] are cut off.
        columns: images in a row.
        rows: as many as the images need if None; fewer draw the first images alone.
        gap: pixels between images; by default a fourteenth of their height.

    Raises:
        ValueError: flat data, a number of channels that cannot be drawn, or a grid larger than the data.
    """
    check_images(images.shape)
    count, channels, height, width = images.shape
    if columns < 1 or (rows is not None and not 1 <= rows * columns <= count):
        raise ValueError(
            f"Expected a grid of 1 to {count:,} images, as many as there are; got {rows} x {columns}. Draw fewer, or "
            f"give more images."
        )
    rows = math.ceil(count / columns) if rows is None else rows
    gap = max(1, height // 14) if gap is None else gap
    page = np.ones((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), dtype=np.float32)
    drawn = images[: rows * columns].detach().cpu().clamp(0, 1).permute(0, 2, 3, 1).numpy()
    for i, image in enumerate(drawn):
        top, left = (i // columns) * (height + gap), (i % columns) * (width + gap)
        page[top : top + height, left : left + width] = image
    return page


def check_images(shape: Sequence[int]) -> None:
    """Raise a ValueError unless images of shape (N, C, H, W) can be drawn."""
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise ValueError(
            f"Expected images of shape (N, 1 or 3, H, W) to draw; got {tuple(shape)}. Flat data have no "
            f"picture: give the data set as images."
        )


def image_grid(images: Tensor, *, columns: int = 8, rows: int | None = None, title: str = "") -> Figure:
    """Images (N, C, H, W) in rows, grey or colour; see `tile` for the arguments."""
    return _page(tile(images, columns=columns, rows=rows), title=title)


def image_rows(rows: Mapping[str, Tensor], *, title: str = "") -> Figure:
    """A row of images (N, C, H, W) for each name, the same N everywhere: originals and what became of them.

    Example:
        >>> import torch
        >>> x = torch.rand(6, 1, 8, 8)
        >>> figure = image_rows({"original": x, "blurred": torch.nn.functional.avg_pool2d(x, 3, 1, 1)})
        >>> figure.savefig("rows.png")  # doctest: +SKIP
    """
    if len({images.shape for images in rows.values()}) != 1:
        shapes = {name: tuple(images.shape) for name, images in rows.items()}
        raise ValueError(f"Expected rows of the same number and shape of images; got {shapes}.")
    count = len(next(iter(rows.values())))
    page = tile(torch.cat([images.cpu() for images in rows.values()]), columns=count)
    figure = _page(page, title=title, margin=1.1)
    (axes,) = figure.axes
    axes.set_axis_on()
    height = page.shape[0] / len(rows)
    axes.set_yticks([(i + 0.5) * height for i in range(len(rows))], list(rows))
    axes.set_xticks([])
    axes.tick_params(length=0, labelsize=10, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def reconstructions(model: Callee, guide: Callee, x: Tensor, *, columns: int = 8, seed: int = 0) -> Figure:
    """Images x (N, C, H, W), each with the mean of p(x|z) below, z from the guide."""
    check_images(x.shape)
    rows = beside(x, reconstruct(model, guide, x, seed=seed), columns=columns)
    return image_grid(rows, columns=columns, title="originals, reconstructions below")


def samples(model: Callee, like: Tensor, *, columns: int = 8, seed: int = 0) -> Figure:
    """As many draws as there are images in ``like`` (N, C, H, W): means of p(x|z) for z from the prior."""
    check_images(like.shape)
    return image_grid(sample(model, like, seed=seed)[1], columns=columns, title="samples, means of p(x|z)")


def traversals(
    model: Callee, guide: Callee, x: Tensor, *, dims: Sequence[int], steps: int = 9, limit: float = 3.0
) -> Figure:
    """One image x (1, C, H, W) with one latent dimension after the other moved from -limit to limit, a row for each."""
    check_images(x.shape)
    values = torch.linspace(-limit, limit, steps)
    images = traverse(model, guide, x, dims=dims, values=values)
    return image_rows(
        {f"z[{dim}]": row for dim, row in zip(dims, images, strict=True)}, title=f"each z from {-limit:g} to {limit:g}"
    )


def interpolations(
    model: Callee, guide: Callee, start: Tensor, end: Tensor, *, steps: int = 10, path: Path = "linear"
) -> Figure:
    """The ways from images to other images (N, C, H, W) each, a row for each pair; ``path`` "linear" or "sphere"."""
    check_images(start.shape)
    images = between(model, guide, start, end, steps=steps, path=path).flatten(0, 1)
    return image_grid(images, columns=steps, title=f"decoded on the way between two codes, {path}")


def manifold_figure(
    model: Callee,
    guide: Callee,
    x: Tensor,
    *,
    side: int = 20,
    dims: tuple[int, int] = (0, 1),
    limit: float | None = None,
) -> Figure:
    """Images decoded over a grid of two latent dimensions, the others at the mean code of images x (N, C, H, W).

    Args:
        model, guide: the pair.
        x: images.
        side: images on each axis.
        dims: dimensions of the horizontal and of the vertical axis.
        limit: an even grid from -limit to limit; by default quantiles of the standard normal, so that each image
            stands for the same prior mass.
    """
    check_images(x.shape)
    if side < 2:
        raise ValueError(f"Expected a side of at least 2 images; got {side}.")
    probabilities = (torch.arange(side) + 0.5) / side
    even = None if limit is None else torch.linspace(-limit, limit, side)
    coordinates = torch.distributions.Normal(0.0, 1.0).icdf(probabilities) if even is None else even
    images = manifold(model, guide, x, coordinates=coordinates, dims=dims)
    figure = _page(tile(images, columns=side, gap=0), title="decoded over a grid of latents", margin=0.3)
    (axes,) = figure.axes
    axes.set_axis_on()
    width, height = x.shape[-1], x.shape[-2]
    ticks = sorted({0, side // 4, side // 2, 3 * side // 4, side - 1})
    axes.set_xticks([(i + 0.5) * width for i in ticks], [f"{coordinates[i]:.1f}" for i in ticks])
    axes.set_yticks([(side - i - 0.5) * height for i in ticks], [f"{coordinates[i]:.1f}" for i in ticks])
    axes.set_xlabel(f"z[{dims[0]}]")
    axes.set_ylabel(f"z[{dims[1]}]")
    tidy(axes)
    return figure


def latent_scatter(codes: Tensor, labels: Tensor | None = None, *, dims: tuple[int, int] = (0, 1)) -> Figure:
    """Codes (N, D) of images over two latent dimensions, coloured by class where labels (N,) are given."""
    last = codes.shape[1] - 1
    if codes.dim() != 2 or not all(0 <= dim <= last for dim in dims):
        raise ValueError(f"Expected two latent dimensions from 0 to {last}; got {list(dims)}.")
    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
    axes = figure.subplots()
    horizontal, vertical = codes.detach().cpu()[:, list(dims)].unbind(1)
    for i, label in enumerate([None] if labels is None else labels.unique().tolist()):
        chosen = slice(None) if label is None else labels.cpu() == label  # type: ignore[union-attr]
        colour = BLUE if label is None else colormaps["tab10"](i % 10)
        axes.scatter(horizontal[chosen], vertical[chosen], s=3, color=colour, linewidths=0, alpha=0.6, label=label)
    if labels is not None:
        axes.legend(frameon=False, markerscale=4, title="class", loc="center left", bbox_to_anchor=(1, 0.5))
    axes.set_xlabel(f"z[{dims[0]}]")
    axes.set_ylabel(f"z[{dims[1]}]")
    axes.set_aspect("equal")
    tidy(axes)
    return figure


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x_label: str, y_label: str, title: str = ""
) -> Figure:
    """A line through points (x, y) for each name."""
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for i, (name, (x, y)) in enumerate(series.items()):
        axes.plot(x, y, color=colormaps["tab10"](i % 10), marker="o" if len(x) < 15 else "", markersize=4, label=name)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title, fontsize=11, color=INK)
    axes.legend(frameon=False)
    tidy(axes)
    return figure


def save_gif(
    figures: Iterable[Figure], path: str | os.PathLike[str], *, milliseconds: int = 400, dpi: int = 60
) -> None:
    """Figures of one size as an animation, each shown so long and the last one five times as long.

    Raises:
        ValueError: no figures.
    """
    frames = []
    for figure in figures:
        file = io.BytesIO()
        figure.savefig(file, format="png", dpi=dpi)
        frames.append(Image.open(file).convert("RGB").quantize(64))
    if not frames:
        raise ValueError("Expected at least one figure for an animation; got none.")
    durations = [milliseconds] * (len(frames) - 1) + [5 * milliseconds]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=durations, loop=0)


def _page(page: np.ndarray, *, title: str, margin: float = 0.0) -> Figure:
    """One picture (H, W, 1 or 3) on a figure of its shape."""
    ratio = page.shape[1] / page.shape[0]
    width = min(10.0, max(4.0, 5.6 * ratio))
    figure = Figure(figsize=(width + margin, width / ratio + 0.5), layout="constrained")
    axes = figure.subplots()
    axes.imshow(page, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_title(title, color=INK, fontsize=11)
    axes.set_axis_off()
    return figure


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
    """Remove the upper and right frame, and make the labels of the ticks small."""
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
