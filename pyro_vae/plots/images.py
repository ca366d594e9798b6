"""Images on a page: grids, named rows, panels, animations."""

from __future__ import annotations

import io
import math
import os
import re
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
from .charts import COLUMN, INK, LABEL_SIZE, PAGE, TITLE_SIZE

PAD = 0.06  # inches around a picture
LONGEST = 60.0  # inches of its sides
PIXELS = 150  # at most, of a page in an inch: none is left out when a figure is saved with so many dots
LEAST = 0.8  # inches of a line of a title, above a picture that is narrower
SIGNS = (r"+:,", r"=", r"_./\-")  # after which a word too long for a line is broken: the first where that is enough
MISSING = (0.93, 0.58, 0.13)  # orange: no grey level, and a colour that few images are full of


def tile(
    images: Tensor, *, columns: int, rows: int | None = None, gap: int | None = None, apart: Sequence[int] = ()
) -> np.ndarray:
    """Images (N, C, H, W) in [0, 1] as one picture, (rows of H, columns of W, 1 or 3), a white line between them.

    Args:
        images: grey or colour; values outside [0, 1] are cut off, and pixels that are missing (NaN) are orange.
        columns: images in a row, at most; exactly so many if rows are given.
        rows: as many as the images need if None; fewer draw the first images alone.
        gap: pixels between images; by default a fourteenth of their height.
        apart: numbers of the columns that stand half an image further from the one before.

    Raises:
        ValueError: flat data, a number of channels that cannot be drawn, or a grid larger than the data.
    """
    check_images(images.shape)
    count, _, height, width = images.shape
    if rows is None:
        columns = min(columns, count)
    if columns < 1 or (rows is not None and not 1 <= rows * columns <= count):
        raise ValueError(
            f"Expected a grid of 1 to {count:,} images, as many as there are; got {rows} x {columns}. Draw fewer, or "
            f"give more images."
        )
    rows = math.ceil(count / columns) if rows is None else rows
    gap = usual_gap(height) if gap is None else gap
    lefts = column_places(columns, width, gap, apart)
    drawn = images[: rows * columns].detach().cpu().clamp(0, 1).permute(0, 2, 3, 1).numpy()
    if np.isnan(drawn).any():
        drawn = np.where(np.isnan(drawn), MISSING, drawn)  # in colour, then
    page = np.ones((rows * (height + gap) - gap, lefts[-1] + width, drawn.shape[-1]), dtype=np.float32)
    for i, image in enumerate(drawn):
        top, left = (i // columns) * (height + gap), lefts[i % columns]
        page[top : top + height, left : left + width] = image
    return page


def usual_gap(height: int) -> int:
    """Pixels between images of this height."""
    return max(1, height // 14)


def column_places(columns: int, width: int, gap: int, apart: Sequence[int] = ()) -> list[int]:
    """The first pixel of each column of a `tile`."""
    return [i * (width + gap) + sum(after <= i for after in apart) * (width // 2) for i in range(columns)]


def full_rows(count: int, *, ideal: float) -> int:
    """Images in a row, so that the last row is as long as the others where a number near the ideal one allows it."""
    fitting = [n for n in range(1, count + 1) if count % n == 0 and ideal / 1.7 <= n <= ideal * 1.7]
    return min(fitting, key=lambda n: (abs(math.log(n / ideal)), -n)) if fitting else min(count, round(ideal))


def images_among(x: Points) -> Tensor:
    """The images (N, C, H, W) that a pair is called with: x itself, or the first such among several inputs.

    Raises:
        ValueError: there are none.
    """
    images = drawable_among(x)
    check_images(images.shape)
    return images


def drawable_among(x: Points) -> Tensor:
    """The first of several inputs that has the shape of images; without one, the first of all."""
    entries = [entry for _, entry in x.named() if entry is not None] if isinstance(x, Batch) else [x]
    return next((entry for entry in entries if entry.dim() == 4), entries[0])


def check_images(shape: Sequence[int]) -> None:
    """Raise a ValueError unless images of shape (N, C, H, W) can be drawn."""
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise ValueError(
            f"Expected images of shape (N, 1 or 3, H, W) to draw; got {tuple(shape)}. Flat data have no "
            f"picture: give the data set as images; sample, reconstruct and encode write numbers, with --out a .npz."
        )


def image_grid(images: Tensor, *, columns: int = 8, rows: int | None = None, title: str = "") -> Figure:
    """Images (N, C, H, W) in rows, grey or colour; see `tile` for the arguments."""
    return picture(tile(images, columns=columns, rows=rows), title=title)


def image_rows(rows: Mapping[str, Tensor], *, columns: Sequence[str] = (), title: str = "") -> Figure:
    """A row of images (N, C, H, W) for each name, the same N everywhere: originals and what became of them.

    Args:
        rows: images by name.
        columns: what stands below each column; nothing by default.
        title: of the figure.

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
    between = usual_gap(next(iter(rows.values())).shape[-2])
    longest = max(text_width(name, size=LABEL_SIZE) for name in rows)
    figure = picture(page, title=title, left=longest + 3 * PAD, bottom=0.2 if columns else PAD)
    (axes,) = figure.axes
    axes.set_axis_on()
    height = (page.shape[0] + between) / len(rows)
    axes.set_yticks([(i + 0.5) * height - (between + 1) / 2 for i in range(len(rows))], list(rows))
    width = (page.shape[1] + between) / count
    axes.set_xticks([(i + 0.5) * width - (between + 1) / 2 for i in range(len(columns))], list(columns))
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
    width = min(PAGE, 2.4 * sum(ratios) + 0.4)
    layout = ConstrainedLayoutEngine(wspace=0.06)
    figure = Figure(figsize=(max(width, COLUMN), width / sum(ratios) + 0.4), layout=layout)
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
    width = min(max(min(PAGE, max(COLUMN, 2.4 * ratio)) - left, page.shape[1] / PIXELS), LONGEST, LONGEST * ratio)
    figure = Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    large = 72 * width >= 2 * page.shape[1]  # at any usual resolution: pixels stay sharp, none is left out
    show(axes, page, interpolation="nearest" if large else "auto")
    axes.title.set_label(title)  # in its own lines, for `fit_around`
    fit_around(figure, axes, width=width, left=left, bottom=bottom)
    return figure


def fit_around(figure: Figure, axes: Axes, *, width: float, left: float, bottom: float) -> None:
    """Give the axes of a `picture` so many inches, and the figure the size that this and its title need."""
    rows, columns = axes.images[0].get_size()
    title = broken(str(axes.title.get_label()), width=max(width, LEAST), size=TITLE_SIZE)
    axes.set_title(title, color=INK, fontsize=TITLE_SIZE, pad=4)
    height, above = width * rows / columns, PAD + 0.17 * len(title.splitlines())
    longest = max((text_width(line, size=TITLE_SIZE) for line in title.splitlines()), default=0.0)
    over = max(0.0, (longest - width) / 2)
    left = max(left, over + PAD)
    whole, tall = left + width + over + PAD, bottom + height + above
    figure.set_size_inches(whole, tall)
    axes.set_position((left / whole, bottom / tall, width / whole, height / tall))


def show(axes: Axes, page: np.ndarray, *, title: str = "", interpolation: str = "auto") -> None:
    """A picture (H, W, 1 or 3) of values in [0, 1] on axes without ticks."""
    axes.imshow(page, cmap="gray", vmin=0, vmax=1, interpolation=interpolation)
    axes.set_title(title, color=INK, fontsize=TITLE_SIZE, pad=4)
    axes.set_axis_off()


def wrapped(text: str, *, width: float, size: float) -> str:
    """A text in lines of so many inches, broken between words; its own line breaks stay."""
    lines = []
    for line in text.splitlines():
        words = line.split(" ")
        lines.append(words[0])
        for word in words[1:]:
            fits = text_width(f"{lines[-1]} {word}", size=size) <= width
            lines[-1:] = [f"{lines[-1]} {word}"] if fits else [lines[-1], word]
    return "\n".join(lines)


def broken(text: str, *, width: float, size: float) -> str:
    """A text in lines of so many inches: between words, else after a sign such as "+" or "=", else anywhere."""
    width *= 0.96  # drawn on pixels, letters are a little wider
    patterns = [*(f"[^{signs}]*[{signs}]|[^{signs}]+" for signs in SIGNS), "."]
    lines = wrapped(text, width=width, size=size).splitlines()
    return "\n".join(part for line in lines for part in _filled(line, patterns, width, size))


def _filled(word: str, patterns: Sequence[str], width: float, size: float) -> list[str]:
    """Lines of a word, broken between the parts that the first pattern finds, and inside of these by the others."""
    if not patterns or text_width(word, size=size) <= width:
        return [word]
    lines = [""]
    for part in re.findall(patterns[0], word):
        if lines[-1] and text_width(lines[-1] + part, size=size) > width:
            lines.append("")
        lines[-1:] = _filled(lines[-1] + part, patterns[1:], width, size)
    return lines


def text_width(text: str, *, size: float) -> float:
    """Inches that a line of text takes."""
    if not text.strip():
        return 0.0
    corners = TextPath((0, 0), text, size=size).vertices[:, 0]  # curves lie between them: exact extents take long
    return float(corners.max() - corners.min()) / 72
