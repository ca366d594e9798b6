"""Tables of a comparison: for the terminal, as markdown, as JSON."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

from .comparison import Comparison


def comparison_table(
    comparison: Comparison, *, kind: str = "prior", style: str = "github", most_pairs: int | None = None
) -> str:
    """Two tables, log p(x) by kind (best first) and differences by pair, in a style of `tabulate`.

    Of more than `most_pairs` pairs, those with the best alone.
    """
    names = sorted(comparison.log_marginal, key=lambda name: -comparison.log_marginal[name].value)
    models = [
        [
            name,
            f"{comparison.log_marginal[name].value:.2f}",
            f"[{comparison.log_marginal[name].low:.2f}, {comparison.log_marginal[name].high:.2f}]",
            f"{comparison.log_marginal[name].monte_carlo_error:.3f}",
            f"{comparison.smallest_ess[name]:.1f}",
            f"{comparison.unreliable[name]:,}",
            comparison.num_seeds[name],
        ]
        for name in names
    ]
    pairs = []
    shown = comparison.differences
    if most_pairs is not None and len(shown) > most_pairs:
        shown = {pair: difference for pair, difference in shown.items() if names[0] in pair}
    for (a, b), difference in shown.items():
        better, worse = sorted((a, b), key=names.index)
        gain = difference if better == a else -difference
        clear = "yes" if gain.low > 0 else "no"
        pairs.append([f"{better} - {worse}", f"{gain.value:.2f}", f"[{gain.low:.2f}, {gain.high:.2f}]", clear])
    pairs.sort(key=lambda row: -float(row[1]))
    headers = [kind, "log p(x)", "95% interval", "Monte Carlo error", "smallest ESS", "unreliable", "seeds"]
    tables = [_table(models, headers, style)]
    if pairs:
        tables.append(_table(pairs, ["paired difference", "nats", "95% interval", "above 0"], style))
    return "\n\n".join(tables)


def _table(rows: list[list[Any]], headers: list[str], style: str) -> str:
    align = ("left", *("right" for _ in headers[1:]))
    return tabulate(rows, headers, tablefmt=style, disable_numparse=True, colalign=align)


def protocol_lines(comparison: Comparison, *, protocol: str, likelihood: str) -> list[str]:
    """What the numbers of a comparison are: data, likelihood, estimator, samples, intervals."""
    smallest = min(comparison.smallest_ess.values())
    doubt = " Below 10, a data point's log p(x) may be too low by more than its error says." if smallest < 10 else ""
    estimators = sorted({estimator for made_by in comparison.estimators.values() for estimator in made_by})
    made_by = f"by {' or '.join(estimators)} " if estimators else ""
    return [
        f"Data: {protocol}.",
        f"Likelihood: {likelihood}. log p(x) in nats per data point, {made_by}with {comparison.num_samples:,} samples "
        f"for each of {comparison.num_data_points:,} data points; a lower bound on average.",
        f"Intervals: 95%, over {comparison.over}; differences are paired by data point. "
        f"Smallest ESS: {smallest:.1f} of {comparison.num_samples:,}.{doubt}",
        *([comparison.caution] if comparison.caution else []),
    ]


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """All numbers of a comparison, ready for JSON."""
    return {
        "unit": "nats per data point, higher is better",
        "num_data_points": comparison.num_data_points,
        "num_samples": comparison.num_samples,
        "intervals": f"95%, over {comparison.over}",
        "caution": comparison.caution,
        "log_marginal": {
            name: {
                **vars(mean),
                "smallest_ess": comparison.smallest_ess[name],
                "unreliable": comparison.unreliable[name],
                "num_seeds": comparison.num_seeds[name],
                "estimators": comparison.estimators[name],
            }
            for name, mean in comparison.log_marginal.items()
        },
        "differences": [{"a": a, "b": b, **vars(mean)} for (a, b), mean in comparison.differences.items()],
    }
