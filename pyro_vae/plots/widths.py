"""Figures at the width that a paper has for them."""

from __future__ import annotations

import math

from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec

from .charts import LABEL_SIZE, TITLE_SIZE
from .compared import LINE, Names, fit_names
from .images import PAD, broken, fit_around, wrapped
from .scatter import PANEL, name_below

NARROW = 5.0  # inches: panels of a narrower figure stand one below the other
ABOVE = 0.35  # inches for the title of a panel of images


def at_width(figure: Figure, width: float, *, height: float | None = None) -> Figure:
    """The same figure, so many inches wide; letters keep their size, 7 to 9 points.

    Below 5 inches panels that stood side by side stand one below the other. Include the file at its own size, or the
    letters shrink with it.

    Args:
        figure: of a function of this module, fresh. It is changed.
        width: in inches; a column of a paper in two columns has about 3.25.
        height: in inches; by default each row of panels is as high as before, or higher where names of models take more
            lines. A grid of images has the height that follows from its width.

    Raises:
        ValueError: a width too small to draw anything, a height for a grid of images or too low for names, or panels in
            several rows.

    Example:
        >>> from pyro_vae.plots import curves
        >>> figure = at_width(curves({"loss": ([1, 2], [9.0, 4.0])}, x_label="epoch", y_label="nats"), 3.25)
        >>> figure.savefig("loss.pdf")  # doctest: +SKIP
        >>> print(figure.get_figwidth())
        3.25
    """
    if not (math.isfinite(width) and width >= 1):
        raise ValueError(f"Expected a width of at least 1 inch; got {width:g}.")
    if figure.get_layout_engine() is None and len(figure.axes) == 1:
        if height is not None:
            raise ValueError(f"Expected no height for images, which have that of their width; got {height:g}.")
        _picture_at(figure, width)
        return figure
    grids = [axes.get_gridspec() for axes in figure.axes]
    if figure.subfigs or any(grid is None or grid.nrows > 1 for grid in grids):
        raise ValueError("Expected a figure of panels in one row; got one of several rows, which has one size alone.")
    _panels_at(figure, width, height)
    return figure


def _picture_at(figure: Figure, width: float) -> None:
    """The axes take the place that labels leave, which keep the inches that they had."""
    (axes,) = figure.axes
    whole, tall = figure.get_size_inches()
    left, bottom, *_ = axes.get_position().bounds
    labelled = bool(axes.axison)
    left = left * whole if labelled else PAD
    fit_around(figure, axes, width=width - left - PAD, left=left, bottom=bottom * tall)


def _panels_at(figure: Figure, width: float, height: float | None) -> None:
    panels = figure.axes
    stacked = width < NARROW and len(panels) > 1
    ratios = [1.0] * len(panels)
    if all(axes.images for axes in panels):
        sizes = [axes.images[0].get_size() for axes in panels]
        inches = width if stacked else width / sum(columns / rows for rows, columns in sizes)
        ratios = [(inches * rows / columns if stacked else inches) + ABOVE for rows, columns in sizes]
        usual = sum(ratios) if stacked else max(ratios)
    else:
        usual = figure.get_figheight() * (len(panels) if stacked else 1)
    if stacked:
        grid = GridSpec(len(panels), 1, figure=figure, height_ratios=ratios)
        for row, axes in enumerate(panels):
            axes.set_subplotspec(grid[row])
            if not axes.images:
                axes.tick_params(labelleft=True)  # also where an axis is shared with what stood on the left
    panel = width if stacked else width / len(panels)
    for axes in panels:
        axes.title.set_text(wrapped(axes.get_title(), width=0.7 * panel, size=LABEL_SIZE))
    title = figure.get_suptitle()
    figure.suptitle(broken(title, width=width - 2 * PAD, size=TITLE_SIZE), fontsize=TITLE_SIZE)
    names = panels[0].yaxis.get_major_formatter()
    if isinstance(names, Names):
        usual += LINE * (figure.get_suptitle().count("\n") - title.count("\n"))
        usual += fit_names(panels, names, width, stacked=stacked)
        least = usual - names.spare * (len(panels) if stacked else 1)
        if height is not None and height < least:
            raise ValueError(f"Expected a height of at least {least:.1f} inches, for all names; got {height:g}.")
    if figure.legends:
        usual = PANEL + name_below(figure, width)
    figure.set_size_inches(width, usual if height is None else height)
