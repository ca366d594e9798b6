"""Numbers as lines, points and bars: training, codes, log p(x), comparisons, diagnostics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from torch import Tensor

from ..evidence import Comparison, LogMarginal, Measured
from ..uses.diagnostics import Diagnostics

INK, BLUE, GREY = "#222222", "#2f6fb0", "#9aa3ab"


def latent_scatter(
    codes: Tensor, labels: Tensor | None = None, *, dims: tuple[int, int] = (0, 1), title: str = ""
) -> Figure:
    """Codes over two latent dimensions, coloured by class.

    Args:
        codes: (N, D), in random order: later points lie on top of earlier ones.
        labels: classes (N,); one colour for all if None.
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
    if labels is not None and labels.shape != codes.shape[:1]:
        raise ValueError(f"Expected a label for each of {len(codes):,} codes; got shape {tuple(labels.shape)}.")
    figure = Figure(figsize=(6.4, 5.4), layout="constrained")
    axes = figure.subplots()
    horizontal, vertical = codes.detach().cpu()[:, list(dims)].unbind(1)
    look: dict[str, Any] = {"color": BLUE}
    if labels is not None:
        classes, places = labels.cpu().unique(return_inverse=True)
        palette = colormaps["tab10" if len(classes) <= 10 else "tab20"]
        look = {"c": palette(places.numpy() % palette.N)}
        dots = [Line2D([], [], marker="o", linestyle="", color=palette(i % palette.N)) for i in range(len(classes))]
        names = [str(label) for label in classes.tolist()]
        axes.legend(dots, names, frameon=False, title="class", loc="center left", bbox_to_anchor=(1, 0.5))
    axes.scatter(horizontal, vertical, s=3, linewidths=0, alpha=0.6, **look)
    axes.set_xlabel(f"z[{dims[0]}]")
    axes.set_ylabel(f"z[{dims[1]}]")
    axes.set_title(title, fontsize=11, color=INK)
    axes.set_aspect("equal")
    tidy(axes)
    return figure


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
    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.subplots()
    for i, (name, (x, y)) in enumerate(series.items()):
        axes.plot(x, y, color=colormaps["tab10"](i % 10), marker="o" if len(x) < 15 else "", markersize=4, label=name)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.set_title(title, fontsize=11, color=INK)
    if len(series) > 4:  # no room among many lines
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    else:
        axes.legend(frameon=False)
    if all(float(value).is_integer() for x, _ in series.values() for value in x):  # epochs: no 2.5 among them
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    tidy(axes)
    return figure


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
    left.set_ylabel("nats per data point")
    figure.suptitle(title, fontsize=11, color=INK)
    return figure


def log_marginal_histogram(result: LogMarginal, *, title: str = "") -> Figure:
    """How log p(x) spreads over the data points where it is finite."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    finite = result.log_prob[result.log_prob.isfinite()]
    axes.hist(finite.numpy(), bins=min(50, max(5, len(result) // 10)), color=BLUE)
    if len(finite):
        mean = finite.mean().item()
        axes.axvline(mean, color=INK, linewidth=1)
        axes.annotate(f" mean {mean:.2f}", (mean, 1), xycoords=("data", "axes fraction"), va="top", color=INK)
    others = len(result) - len(finite)
    axes.set_xlabel(f"log p(x), nats{f'; {others:,} data points are not finite' if others else ''}")
    axes.set_ylabel("data points")
    axes.set_title(title, fontsize=11, color=INK)
    tidy(axes)
    return figure


def comparison_figure(comparison: Comparison, *, title: str = "") -> Figure:
    """log p(x) by model with 95% intervals, and the paired differences to the best model.

    Of several differences the grey intervals hold at once: also for the best model, which was picked by them.
    """
    names = sorted(comparison.log_marginal, key=lambda name: comparison.log_marginal[name].value)
    best = names[-1]
    differences, together = (
        [_difference(of_pairs, name, best) for name in names[:-1]]
        for of_pairs in (comparison.differences, comparison.simultaneous)
    )
    figure = Figure(figsize=(10, 1.5 + 0.55 * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _intervals(left, names, [comparison.log_marginal[name] for name in names])
    left.set_xlabel("log p(x), nats per data point, 95% interval")
    if len(names) > 2:
        _intervals(right, names[:-1], together, color=GREY)
    _intervals(right, names[:-1], differences)
    right.plot([0], [len(names) - 1], "o", color=GREY)
    right.axvline(0, color=GREY, linewidth=1, zorder=0)
    at_once = f",\ngrey: all {len(comparison.differences)} at once" if len(names) > 2 else ""
    right.set_xlabel(f"paired difference to the best, nats, 95% interval{at_once}")
    several = max(comparison.num_seeds.values()) > 1  # then intervals of one seed are over data points alone
    single = {name for name, count in comparison.num_seeds.items() if several and count == 1}
    left.set_yticks(range(len(names)), [f"{name}\n(one seed)" if name in single else name for name in names])
    left.set_ylim(-0.6, len(names) - 0.4)
    for axes in (left, right):
        tidy(axes)
    figure.suptitle(title, fontsize=11, color=INK)
    return figure


def _difference(of_pairs: Mapping[tuple[str, str], Measured], name: str, other: str) -> Measured:
    return of_pairs[name, other] if (name, other) in of_pairs else -of_pairs[other, name]


def _intervals(axes: Axes, names: Sequence[str], estimates: Sequence[Measured], *, color: str = BLUE) -> None:
    values = [e.value for e in estimates]
    below, above = [e.value - e.low for e in estimates], [e.high - e.value for e in estimates]
    axes.errorbar(values, range(len(names)), xerr=[below, above], fmt="o", color=color, capsize=3)


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
    right.set_xlabel("nats per data point")
    right.set_title(f"ELBO {result.elbo.value:.2f}; bars of two standard errors", fontsize=10)
    for axes in (left, right):
        tidy(axes)
    left.tick_params(axis="x", labelsize=7)
    figure.suptitle(title, fontsize=11, color=INK)
    return figure


def tidy(axes: Axes) -> None:
    """Remove the upper and right frame, and make the labels of the ticks small."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelsize=9)
