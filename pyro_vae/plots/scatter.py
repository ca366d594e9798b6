"""Codes over two latent dimensions, with the names of classes below."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

from .charts import BLUE, COLUMN, INK, LABEL_SIZE, TITLE_SIZE, tidy
from .images import broken, text_width

PANEL = 2.9  # inches: height without the names
MARK, ROOM = 0.28, 0.1  # inches: a dot and the room around it, and room on both sides of all
LINE, AROUND = 0.155, 0.12  # inches: a line of names, and above and below all


def latent_scatter(
    codes: Tensor,
    labels: Tensor | np.ndarray | Sequence[str] | None = None,
    *,
    dims: tuple[int, int] = (0, 1),
    title: str = "",
) -> Figure:
    """Codes over two latent dimensions, coloured by class.

    Each class has a colour of its own; of more than ten or so, a reader tells few apart.

    Args:
        codes: (N, D), in random order: later points lie on top of earlier ones.
        labels: classes (N,), as numbers or by their names; one colour for all if None.
        dims: dimensions of the horizontal and of the vertical axis.
        title: of the figure.

    Raises:
        ValueError: codes that are no vectors, a dimension out of range, or not as many labels as codes.
    """
    if codes.dim() != 2:
        raise ValueError(f"Expected codes of shape (N, D); got {tuple(codes.shape)}.")
    last = codes.shape[1] - 1
    if len(dims) != 2 or not all(0 <= dim <= last for dim in dims):
        raise ValueError(f"Expected two latent dimensions from 0 to {last}; got {list(dims)}.")
    named = None if labels is None else np.asarray(labels.cpu() if isinstance(labels, Tensor) else labels)
    if named is not None and named.shape != (len(codes),):
        raise ValueError(f"Expected a label for each of {len(codes):,} codes; got shape {named.shape}.")
    figure = Figure(figsize=(COLUMN, PANEL), layout="constrained")
    axes = figure.subplots()
    horizontal, vertical = codes.detach().cpu()[:, list(dims)].unbind(1)
    look: dict[str, Any] = {"color": BLUE}
    if named is not None:
        classes, places = np.unique(named, return_inverse=True)
        palette = _colours(len(classes))
        look = {"c": palette[places]}
        for name, colour in zip(classes.tolist(), palette, strict=True):
            axes.add_line(Line2D([], [], marker="o", markersize=4, linestyle="", color=colour, label=str(name)))
    axes.scatter(horizontal, vertical, s=min(18, max(2, 3000 / len(codes))), linewidths=0, alpha=0.7, **look)
    axes.set(xlabel=f"z[{dims[0]}]", ylabel=f"z[{dims[1]}]")
    axes.set_title(broken(title, width=0.7 * COLUMN, size=TITLE_SIZE), fontsize=TITLE_SIZE, color=INK)
    axes.set_aspect("equal", adjustable="datalim")
    tidy(axes)
    if named is not None:
        figure.set_figheight(PANEL + name_below(figure, COLUMN))
    return figure


def name_below(figure: Figure, width: float) -> float:
    """Write the names of the classes of a scatter so many inches wide below it; how many inches they take."""
    marks = figure.axes[0].lines
    for legend in list(figure.legends):
        legend.remove()
    names = [broken(str(mark.get_label()), width=width - MARK - ROOM, size=LABEL_SIZE) for mark in marks]
    widest = max(text_width(line, size=LABEL_SIZE) for name in names for line in name.split("\n"))
    most = max(int((width - ROOM) / (widest + MARK)), 1)
    columns = math.ceil(len(names) / math.ceil(len(names) / most))  # filled alike
    look: dict[str, Any] = {"loc": "outside lower center", "ncols": columns, "frameon": False, "fontsize": LABEL_SIZE}
    look |= {"handlelength": 1.0, "handletextpad": 0.3, "columnspacing": 0.9, "labelspacing": 0.2, "borderpad": 0.2}
    legend = figure.legend(list(marks), ["name"] * len(names), **look)
    for text, name in zip(legend.get_texts(), names, strict=True):  # as they are: "_" would leave one out
        text.set_parse_math(False)
        text.set_text(name)
    lines = np.array([name.count("\n") + 1 for name in names])
    return AROUND + LINE * max(int(part.sum()) for part in np.array_split(lines, columns))  # as matplotlib fills them


def _colours(count: int) -> np.ndarray:
    """Different colours (count, 4)."""
    places = np.arange(count) if count <= 20 else np.linspace(0, 1, count)
    return colormaps["tab10" if count <= 10 else "tab20" if count <= 20 else "turbo"](places)
