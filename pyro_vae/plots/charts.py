"""Numbers as lines, points and bars: training, codes, log p(x), diagnostics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..evidence import LogMarginal, Measured
from ..uses.diagnostics import Diagnostics

INK, BLUE, GREY, RED = "#222222", "#2f6fb0", "#9aa3ab", "#c0392b"
COLUMN, PAGE = 3.4, 6.9  # inches: a column, and the width of a page, of a paper in two columns
TITLE_SIZE, LABEL_SIZE = 9, 8  # points, at that size


def curves(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]], *, x_label: str, y_label: str, title: str = ""
) -> Figure:
    """A line through points for each name.

    Args:
        series: x and y of the points, by name.
        x_label, y_label: of the axes, with their units.
        title: of the figure.

    Example:
        >>> figure = curves({"loss": ([1, 2, 3], [9.0, 4.0, 3.5])}, x_label="epoch", y_label="nats per data point")
        >>> figure.savefig("loss.png")  # doctest: +SKIP
    """
    many = len(series) > 4
    figure = Figure(figsize=(COLUMN + 1.6 * many, 2.5), layout="constrained")
    axes = figure.subplots()
    for i, (name, (x, y)) in enumerate(series.items()):
        marker = "o" if len(x) < 15 else ""
        axes.plot(x, y, color=colormaps["tab10"](i % 10), marker=marker, markersize=3, linewidth=1.2, label=name)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.set_title(title, fontsize=TITLE_SIZE, color=INK, wrap=True)
    beside: dict[str, Any] = {"loc": "center left", "bbox_to_anchor": (1, 0.5)} if many else {}  # no room among lines
    axes.legend(frameon=False, fontsize=LABEL_SIZE, **beside)
    if all(float(value).is_integer() for x, _ in series.values() for value in x):  # epochs: no 2.5 among them
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    tidy(axes)
    return figure


def training_curves(history: Sequence[dict[str, float]], *, best_epoch: int | None = None, title: str = "") -> Figure:
    """Training and validation loss by epoch, and the rate and distortion of the validation data.

    The training loss is a mean over its epoch, and stands in the middle of it.

    Args:
        history: of a `Fit`.
        best_epoch: the one whose state was kept, which is marked; none by default.
        title: of the figure.
    """
    figure = Figure(figsize=(PAGE, 2.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [entry["epoch"] for entry in history]
    look: dict[str, Any] = {"marker": "o" if len(history) < 10 else "", "markersize": 3, "linewidth": 1.2}
    training = [entry["loss"] for entry in history]
    left.plot([epoch - 0.5 for epoch in epochs], training, color=GREY, label="training loss, mean of the epoch", **look)
    if "validation_elbo" in history[0]:
        validation = [-entry["validation_elbo"] for entry in history]
        left.plot(epochs, validation, color=BLUE, label="-ELBO, validation", **look)
        for name, colour in (("distortion", BLUE), ("rate", INK)):
            right.plot(epochs, [entry[f"validation_{name}"] for entry in history], color=colour, label=name, **look)
        right.set_ylim(bottom=0)
        right.set_ylabel("nats per data point, validation")
    else:
        right.remove()
    _cut_first_epochs(left, history)
    left.set_ylabel("nats per data point")
    for axes in figure.axes:
        if best_epoch:
            axes.axvline(best_epoch, color=RED, linewidth=0.8, linestyle=":", label=f"best epoch, {best_epoch}")
        above: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2}  # covers no line
        axes.legend(frameon=False, fontsize=LABEL_SIZE, handlelength=1.5, labelspacing=0.2, **above)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return finished(figure, title)


def _cut_first_epochs(axes: Axes, history: Sequence[dict[str, float]]) -> None:
    """Let the axis end above what comes after the first tenth of the epochs, and say what lies beyond its end."""
    losses = [max(entry["loss"], -entry.get("validation_elbo", -entry["loss"])) for entry in history]
    least = min(min(entry["loss"], -entry.get("validation_elbo", -entry["loss"])) for entry in history)
    highest = max(losses[len(losses) // 10 :])
    top = highest + 0.3 * ((highest - least) or 1.0)
    if len(history) < 10 or max(losses) <= highest + 2 * (top - least):
        return
    axes.set_ylim(least - 0.05 * (top - least), top)
    above = sum(loss > top for loss in losses)
    text = f"\u2191 {above} first epoch{'s' if above > 1 else ''} above, up to {max(losses):,.0f}"
    axes.annotate(text, (0.98, 0.98), xycoords="axes fraction", ha="right", va="top", size=LABEL_SIZE - 1, color=GREY)


def log_marginal_histogram(result: LogMarginal, *, title: str = "") -> Figure:
    """How log p(x) spreads over the data points where it is finite."""
    figure = Figure(figsize=(COLUMN, 2.3), layout="constrained")
    axes = figure.subplots()
    finite = result.log_prob[result.log_prob.isfinite()]
    axes.hist(finite.numpy(), bins=min(50, max(5, len(result) // 10)), color=BLUE)
    axes.margins(y=0.15)  # room for the mean
    if len(finite):
        mark_mean(axes, finite.mean().item(), digits=2)
    others = len(result) - len(finite)
    axes.set_xlabel(f"{result.quantity}, nats{f'; {others:,} data points are not finite' if others else ''}")
    axes.set_ylabel("data points")
    axes.set_title(title, fontsize=TITLE_SIZE, color=INK, wrap=True)
    tidy(axes)
    return figure


def mark_mean(axes: Axes, mean: float, *, digits: int) -> None:
    """A line at the mean of a histogram, and the number beside it."""
    axes.axvline(mean, color=INK, linewidth=1)
    text, place = f" mean {mean:.{digits}f}", ("data", "axes fraction")
    axes.annotate(text, (mean, 1), xycoords=place, va="top", color=INK, size=LABEL_SIZE)


def diagnostics_figure(result: Diagnostics, *, title: str = "") -> Figure:
    """Nats of each latent dimension, largest first, active ones in blue; and the rate with its split."""
    figure = Figure(figsize=(PAGE, 2.8), layout="constrained")
    parts: dict[str, Measured | None] = {
        "rate": result.rate,
        "I(x;z), at most": result.mutual_information_upper,
        "I(x;z), at least": result.mutual_information,
        "KL(q(z)||p(z)),\nat most": result.marginal_kl,
    }
    shown = {name: part for name, part in parts.items() if part is not None}
    is_split = len(shown) > 1  # the rate alone is a number, which needs no bar
    left, *others = figure.subplots(1, 1 + is_split, squeeze=False)[0]
    values, errors, what = result.information, result.information_error, f"{result.convention}, nats"
    if values is None or errors is None:
        values, errors, what = result.variance, result.variance_error, "variance of E[z|x]"
    order = values.argsort(descending=True)
    active = result.active_by_variance[order]
    places = range(len(order))
    left.bar(places, values[order].numpy(), yerr=2 * errors[order].numpy(), ecolor=INK, error_kw={"linewidth": 0.8})
    for bar, is_active in zip(left.patches, active.tolist(), strict=True):
        bar.set_color(BLUE if is_active else GREY)
    names = [result.dimensions[d] for d in order.tolist()]
    few = len(names) <= 40
    left.set_xticks(places if few else [], names if few else [], rotation=90)
    left.set_ylabel(what)
    count = f"{int(active.sum())} of {len(names)} active (blue): variance of E[z|x] > 0.01"
    sides = f"ELBO {result.elbo.value:.2f}; rate {result.rate.value:.2f}, distortion {result.distortion.value:.2f}"
    left.set_title(count if is_split else f"{count}\n{sides}", fontsize=LABEL_SIZE)
    for right in others:
        _rate_split(right, shown)
        right.set_title(sides, fontsize=LABEL_SIZE)
    finished(figure, title)
    left.tick_params(axis="x", labelsize=6)
    return figure


def _rate_split(right: Axes, shown: Mapping[str, Measured]) -> None:
    values, errors = zip(*((part.value, 2 * part.standard_error) for part in shown.values()), strict=True)
    right.barh(range(len(shown)), values, xerr=errors, color=BLUE, height=0.6, error_kw={"linewidth": 0.8})
    for row, (value, error) in enumerate(zip(values, errors, strict=True)):
        right.annotate(f"  {value:.2f}", (max(value, 0) + error, row), va="center", fontsize=LABEL_SIZE, color=INK)
    right.set_yticks(range(len(shown)), list(shown))
    right.set(ylim=(len(shown) - 0.4, -0.6), xlabel="nats; lines: two standard errors")
    right.set_xlim(right=right.get_xlim()[1] * 1.25)


def tidy(axes: Axes) -> None:
    """Remove the upper and right frame, and give the labels the size that they have in a paper."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=LABEL_SIZE)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set_fontsize(LABEL_SIZE)


def finished(figure: Figure, title: str) -> Figure:
    """The figure with tidy axes, and its title above all of them."""
    for axes in figure.axes:
        tidy(axes)
    figure.suptitle(title, fontsize=TITLE_SIZE, color=INK)
    return figure
