"""Images on a page: grids, named rows, panels, animations."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.textpath import TextPath
from PIL import Image
from torch import Tensor

from ..disk.writing import written_whole
from ..pairs.batch import Batch, Points
from .charts import INK

TITLE_SIZE, LABEL_SIZE = 11, 10  # points
PAD = 0.06  # inches around a picture
LONGEST = 60.0  # inches of its sides
PIXELS = 150  # at most, of a page in an inch: none is left out when a figure is saved with so many dots


def tile(images: Tensor, *, columns: int, rows: int | None = None, gap: int | None = None) -> np.ndarray:
    """Images (N, C, H, W) in [0, 1] as one picture, (rows of H, columns of W, 1 or 3), a white line between them.

    Args:
        images: grey or colour; values outside [0, 1] are cut off.
        columns: images in a row, at most; exactly so many if rows are given.
        rows: as many as the images need if None; fewer draw the first images alone.
        gap: pixels between images; by default a fourteenth of their height.

    Raises:
        ValueError: flat data, a number of channels that cannot be drawn, or a grid larger than the data.
    """
    check_images(images.shape)
    count, channels, height, width = images.shape
    if rows is None:
        columns = min(columns, count)
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


def images_among(x: Points) -> Tensor:
    """The images that a pair is called with: x itself; of several tensors the first that can be drawn, or the first."""
    entries = [entry for _, entry in x.named() if entry is not None] if isinstance(x, Batch) else [x]
    return next((entry for entry in entries if entry.dim() == 4), entries[0])


def check_images(shape: Sequence[int]) -> None:
    """Raise a ValueError unless images of shape (N, C, H, W) can be drawn."""
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise ValueError(
            f"Expected images of shape (N, 1 or 3, H, W) to draw; got {tuple(shape)}. Flat data have no "
            f"picture: give the data set as images."
        )


def image_grid(images: Tensor, *, columns: int = 8, rows: int | None = None, title: str = "") -> Figure:
    """Images (N, C, H, W) in rows, grey or colour; see `tile` for the arguments."""
    return picture(tile(images, columns=columns, rows=rows), title=title)


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
    longest = max(text_width(name, size=LABEL_SIZE) for name in rows)
    figure = picture(page, title=title, left=longest + 3 * PAD)
    (axes,) = figure.axes
    axes.set_axis_on()
    height = page.shape[0] / len(rows)
    axes.set_yticks([(i + 0.5) * height for i in range(len(rows))], list(rows))
    axes.set_xticks([])
    axes.tick_params(length=0, labelsize=LABEL_SIZE, labelcolor=INK)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return figure


def beside(originals: Tensor, reconstructions: Tensor, *, columns: int = 8) -> Tensor:
    """Rows of originals with their reconstructions right below, for `image_grid` with the same columns."""
    pad = [originals.new_ones(-len(originals) % columns, *originals.shape[1:])]  # white, so that rows stay pairs
    originals, reconstructions = torch.cat([originals, *pad]), torch.cat([reconstructions, *pad])
    rows = zip(originals.split(columns), reconstructions.split(columns), strict=True)
    pairs = [image for original, reconstruction in rows for image in (*original, *reconstruction)]
    return torch.stack(pairs)


def image_panels(panels: dict[str, Tensor], *, columns: int = 8) -> Figure:
    """Several titled grids of images side by side."""
    pages = {title: tile(images, columns=columns) for title, images in panels.items()}
    ratios = [page.shape[1] / page.shape[0] for page in pages.values()]
    width = min(12.0, 4.2 * sum(ratios) + 0.4)
    layout = ConstrainedLayoutEngine(wspace=0.06)
    figure = Figure(figsize=(max(width, 4.0), width / sum(ratios) + 0.5), layout=layout)
    all_axes = figure.subplots(1, len(pages), width_ratios=ratios, squeeze=False)[0]
    for axes, (title, page) in zip(all_axes, pages.items(), strict=True):
        show(axes, page, title=title)
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
        page = io.BytesIO()
        figure.savefig(page, format="png", dpi=dpi)
        frames.append(Image.open(page).convert("RGB").quantize(64))
    if not frames:
        raise ValueError("Expected at least one figure for an animation; got none.")
    durations = [milliseconds] * (len(frames) - 1) + [5 * milliseconds]
    with written_whole(Path(path)) as file:
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)


def picture(page: np.ndarray, *, title: str = "", left: float = PAD, bottom: float = PAD) -> Figure:
    """One picture (H, W, 1 or 3) on a figure that fits it, with so many inches free on its left and below it."""
    ratio = page.shape[1] / page.shape[0]
    width = min(max(min(10.0, max(4.0, 5.6 * ratio)), page.shape[1] / PIXELS), LONGEST, LONGEST * ratio)
    height, above = width / ratio, 0.34 if title else PAD
    over = max(0.0, (text_width(title, size=TITLE_SIZE) - width) / 2)  # a title may be wider than its picture
    left = max(left, over + PAD)
    whole, tall = left + width + over + PAD, bottom + height + above
    figure = Figure(figsize=(whole, tall))
    axes = figure.add_axes((left / whole, bottom / tall, width / whole, height / tall))
    large = 72 * width >= 2 * page.shape[1]  # at any usual resolution: pixels stay sharp, none is left out
    show(axes, page, title=title, interpolation="nearest" if large else "auto")
    return figure


def show(axes: Axes, page: np.ndarray, *, title: str = "", interpolation: str = "auto") -> None:
    """A picture (H, W, 1 or 3) of values in [0, 1] on axes without ticks."""
    axes.imshow(page, cmap="gray", vmin=0, vmax=1, interpolation=interpolation)
    axes.set_title(title, color=INK, fontsize=TITLE_SIZE)
    axes.set_axis_off()


def text_width(text: str, *, size: float) -> float:
    """Inches that a line of text takes."""
    return TextPath((0, 0), text, size=size).get_extents().width / 72 if text.strip() else 0.0
