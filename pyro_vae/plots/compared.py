"""Models beside each other: intervals of log p(x) and of paired differences, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter, FixedLocator, MaxNLocator

from ..evidence import Comparison, Measured
from ..evidence.words import one_quantity
from .charts import BLUE, GREY, LABEL_SIZE, PAGE, TITLE_SIZE, finished
from .images import PAD, broken, text_width

BESIDE, STACKED = 0.33, 0.42  # largest share of a figure's width that names take, of panels side by side and stacked
ROW, LINE = 0.28, 0.135  # inches: least height of a row, and of a line of its name
AROUND = 0.45  # inches beside names and axes: ticks, padding, and the half of the last tick's number


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
    figure = Figure(figsize=(PAGE, 0.9 + ROW * len(names)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    _intervals(left, names, [comparison.log_marginal[name] for name in names])
    what = one_quantity(comparison.quantity.values())
    _label(left, f"{what}, nats per data point,\n95% interval")  # two lines: names leave little room
    if len(names) > 2:
        _intervals(right, names[:-1], together, color=GREY)
    _intervals(right, names[:-1], differences)
    right.plot([0], [len(names) - 1], "o", color=GREY)
    right.axvline(0, color=GREY, linewidth=1, zorder=0)
    at_once = f"; grey: all {len(comparison.differences)} at once" if len(names) > 2 else ""
    _label(right, f"paired difference to the best, nats,\n95% interval{at_once}")
    several = max(comparison.num_seeds.values()) > 1  # then intervals of one seed are over data points alone
    single = {name for name, count in comparison.num_seeds.items() if several and count == 1}
    left.yaxis.set_major_locator(FixedLocator(range(len(names))))
    rows = Names([f"{name}\n(one seed)" if name in single else name for name in names])
    left.yaxis.set_major_formatter(rows)
    left.set_ylim(-0.6, len(names) - 0.4)
    finished(figure, broken(title, width=PAGE - 2 * PAD, size=TITLE_SIZE))
    figure.set_figheight(figure.get_figheight() + fit_names(figure.axes, rows, PAGE, stacked=False))
    return figure


class Names(FixedFormatter):
    """Names of rows beside their ticks, in as many lines as their room asks for."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(names)
        self.names = list(names)
        self.row, self.spare = ROW, 0.0  # inches that a row has, and that all rows could do without

    def fit(self, width: float) -> tuple[float, float]:
        """Break the names to lines of so many inches: inches of the longest line, and by which all rows grow."""
        self.seq = [broken(name, width=width, size=LABEL_SIZE) for name in self.names]
        lines = [name.splitlines() for name in self.seq]
        least = LINE * max(map(len, lines))
        before, self.row = self.row, max(ROW, least + 0.05)
        self.spare = (self.row - least) * len(lines)
        longest = max(text_width(line, size=LABEL_SIZE) for several in lines for line in several)
        return longest, (self.row - before) * len(lines)


def fit_names(panels: Sequence[Axes], names: Names, width: float, *, stacked: bool) -> float:
    """Make the names, labels and ticks of panels fit a figure so many inches wide: inches by which it grows higher."""
    longest, taller = names.fit((STACKED if stacked else BESIDE) * width)
    room = (width - longest) / (1 if stacked else len(panels)) - AROUND
    more = 0
    for axes in panels:
        whole, before = str(axes.xaxis.label.get_label()), axes.get_xlabel().count("\n")
        label = broken(whole, width=room + (longest if stacked else 0.3), size=LABEL_SIZE)
        if stacked:  # to the left of its axes lies the room below the names
            axes.set_xlabel(label, loc="right", multialignment="right")
        else:
            axes.set_xlabel(label)
        more = max(more, label.count("\n") - before)
        _set_ticks(axes, room)
    return (taller + LINE * more) * (len(panels) if stacked else 1)


def _label(axes: Axes, text: str) -> None:
    axes.set_xlabel(text)
    axes.xaxis.label.set_label(text)  # in its own lines, for `fit_names`


def _set_ticks(axes: Axes, inches: float) -> None:
    """The most ticks, up to five intervals of them, whose numbers stand apart on an axis of so many inches."""
    low, high = axes.get_xlim()
    for count in range(5, 0, -1):
        locator = MaxNLocator(nbins=count)
        axes.xaxis.set_major_locator(locator)
        ticks = [tick for tick in locator.tick_values(low, high) if low <= tick <= high]
        numbers = axes.xaxis.get_major_formatter().format_ticks(ticks)
        longest = max(text_width(number, size=LABEL_SIZE) for number in numbers)
        if len(ticks) < 2 or longest + 0.12 <= (ticks[1] - ticks[0]) / (high - low) * inches:
            return


def _difference(of_pairs: Mapping[tuple[str, str], Measured], name: str, other: str) -> Measured:
    return of_pairs[name, other] if (name, other) in of_pairs else -of_pairs[other, name]


def _intervals(axes: Axes, names: Sequence[str], estimates: Sequence[Measured], *, color: str = BLUE) -> None:
    values = [e.value for e in estimates]
    below, above = [e.value - e.low for e in estimates], [e.high - e.value for e in estimates]
    axes.errorbar(values, range(len(names)), xerr=[below, above], fmt="o", color=color, capsize=2, markersize=4)
