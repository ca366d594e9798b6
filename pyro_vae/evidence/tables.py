"""A comparison as JSON, and what is written from that: tables, for the terminal or as markdown, and lines on them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tabulate import LATEX_ESCAPE_RULES, tabulate

from .words import one_quantity, sample_counts

if TYPE_CHECKING:
    from .comparison import Comparison

Numbers = Mapping[str, Any]
AS_THEY_ARE = ("smallest_ess", "largest_khat", "unreliable", "undecided")
# LaTeX: no wider than the column
FITTING = "\\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """All numbers of a comparison, ready for JSON."""
    seeds = comparison.num_seeds
    counts = [count for pair in comparison.num_samples.values() for count in pair]

    def of_these_runs(names: Any) -> dict[str, Any]:
        alone = comparison.of_these_runs[names]
        return {
            "over_data_points_alone": [alone.low, alone.high],
            "standard_error_over_data_points_alone": alone.standard_error,
        }

    return {
        "unit": "nats per data point, higher is better",
        "num_data_points": comparison.num_data_points,
        "num_samples": min(counts) if min(counts) == max(counts) else [min(counts), max(counts)],
        "intervals": f"95%, over {comparison.over}",
        "cautions": comparison.cautions,
        "log_marginal": {
            name: {
                **vars(mean),
                **of_these_runs(name),
                "seeds": list(comparison.seed_means[name]),
                "num_seeds": seeds[name],
                "num_samples": list(comparison.num_samples[name]),
                **{key: getattr(comparison, key)[name] for key in AS_THEY_ARE},
                "from_fitted_proposals": comparison.fitted[name],
                "estimators": comparison.estimators[name],
                "quantity": comparison.quantity[name],
            }
            for name, mean in comparison.log_marginal.items()
        },
        "differences": [
            {
                "a": a,
                "b": b,
                **vars(mean),
                "simultaneous": [comparison.simultaneous[a, b].low, comparison.simultaneous[a, b].high],
                **of_these_runs((a, b)),
                "over_seeds": min(seeds[a], seeds[b]) > 1,
            }
            for (a, b), mean in comparison.differences.items()
        ],
    }


def comparison_markdown(content: Numbers) -> str:
    """What comparison.md holds, from all that comparison.json does."""
    lines = [comparison_table(content), *protocol_lines(content)]
    if "command" in content:
        threads = f"{content['threads']} thread{'s' * (content['threads'] != 1)}"
        machine = f"{content['device']}, {threads}, {content['date']}"
        lines.append(f"`{content['command']}` on {machine}, {content['seconds']:.0f} seconds.")
    return "\n\n".join(lines) + "\n"


def comparison_latex(content: Numbers) -> str:
    """The same as a table of LaTeX, with the rules of booktabs, made narrower where it is wider than the column; what
    the numbers are stands below in small print."""
    tables = [f"{FITTING}{table}}}" for table in comparison_table(content, style="latex_booktabs").split("\n\n")]
    notes = "".join(LATEX_ESCAPE_RULES.get(letter, letter) for letter in " ".join(protocol_lines(content)))
    quantity = "".join(LATEX_ESCAPE_RULES.get(letter, letter) for letter in _quantity(content))
    pairs = ", and paired differences" if len(tables) > 1 else ""
    lines = [
        "\\begin{table}",
        "\\centering",
        f"\\caption{{Mean {quantity} in nats per data point{pairs}.}}",
        "\\label{tab:comparison}",
        "\n\n\\bigskip\n\n".join(tables),
        "\n\\medskip",
        f"\\parbox{{\\linewidth}}{{\\footnotesize {notes}}}",
        "\\end{table}",
    ]
    text = "\n".join(lines) + "\n"
    text = re.sub(r"log p\((.*?)\)", lambda found: rf"$\log p({found[1].replace('|', chr(92) + 'mid')})$", text)
    text = re.sub(r"(?<=[\[\s])-(?=[\d\s])", "$-$", text)  # a minus is longer than a hyphen
    return "% \\usepackage{booktabs, graphicx}, and table* in two columns\n" + text.replace("k-hat", r"$\hat{k}$")


def comparison_table(content: Numbers, *, style: str = "github", most_pairs: int | None = None) -> str:
    """Two tables, log p(x) by model (best first) and differences by pair, in a style of `tabulate`.

    Intervals over data points alone, which a model with one seed has, stand in a column of their own beside those over
    data points and seeds. Whether a difference is above 0 is said by the intervals that hold at once, and not at all
    of a model with one seed beside others with more.

    Args:
        content: what `comparison_json` gives; also "varied", the part that varies, and "marked", names with a mark.
        style: of `tabulate`.
        most_pairs: of more pairs, those with the best alone are shown.
    """
    models = content["log_marginal"]
    names = sorted(models, key=lambda name: -models[name]["value"])
    shown = content["differences"]
    if most_pairs is not None and len(shown) > most_pairs:
        shown = [pair for pair in shown if names[0] in (pair["a"], pair["b"])]
    rows = sorted((_pair_row(pair, content, names) for pair in shown), key=lambda row: -float(row["nats"]))
    failed = [{"name": name, _quantity(content): "failed"} for name in content.get("failed", {}) if name not in models]
    tables = [_table([*(_model_row(name, content) for name in names), *failed], content.get("varied", "model"), style)]
    return "\n\n".join([*tables, *([_table(rows, "paired difference", style)] if rows else [])])


def _quantity(content: Numbers) -> str:
    return one_quantity(model.get("quantity", "log p(x)") for model in content["log_marginal"].values())


def _single(content: Numbers) -> list[bool]:
    """Whether a model has one seed, for each."""
    return [model["num_seeds"] == 1 for model in content["log_marginal"].values()]


def _intervals(mean: Numbers, content: Numbers, *, over_seeds: bool) -> dict[str, str]:
    """The interval, in the column that says what it is over."""
    single = _single(content)
    alone = _interval(mean["over_data_points_alone"])
    if all(single):
        return {"95% interval, data points alone": alone}
    found = {"95% interval": _interval([mean["low"], mean["high"]]) if over_seeds else "one seed"}
    return found | ({"over data points alone": alone} if any(single) else {})


def _model_row(name: str, content: Numbers) -> dict[str, str]:
    model = content["log_marginal"][name]
    count, khat = model["num_seeds"] * content["num_data_points"], model["largest_khat"]
    few = f", {model['undecided']:,} untold" if model["undecided"] else ""
    return {
        "name": f"{name} *" if name in content.get("marked", ()) else name,
        _quantity(content): f"{model['value']:.2f}",
        **_intervals(model, content, over_seeds=model["num_seeds"] > 1),
        "Monte Carlo error": _number(model["monte_carlo_error"], ".3f"),
        "smallest ESS": _number(model["smallest_ess"], ".1f"),
        "largest k-hat": _number(khat, ".2f"),
        "unreliable": f"{model['unreliable']:,} of {count:,}{few}",
        "seeds": str(model["num_seeds"]),
    }


def _pair_row(pair: Numbers, content: Numbers, best_first: Sequence[str]) -> dict[str, str]:
    """The better minus the worse."""
    better, worse = sorted((pair["a"], pair["b"]), key=best_first.index)
    sign = 1 if better == pair["a"] else -1
    turned = {key: sorted(sign * bound for bound in pair[key]) for key in ("simultaneous", "over_data_points_alone")}
    low, high = sorted((sign * pair["low"], sign * pair["high"]))
    gain = {"low": low, "high": high, **turned}
    count, told = len(content["differences"]), pair["over_seeds"] or all(_single(content))
    together = {f"all {count} at once": _interval(turned["simultaneous"]) if told else "one seed"} if count > 1 else {}
    return {
        "name": f"{better} - {worse}",
        "nats": f"{sign * pair['value']:.2f}",
        **_intervals(gain, content, over_seeds=pair["over_seeds"]),
        **together,
        "above 0, these runs" if all(_single(content)) else "above 0": (
            ("yes" if turned["simultaneous"][0] > 0 else "no") if told else "one seed"
        ),
    }


def _interval(bounds: Sequence[float]) -> str:
    return f"[{bounds[0]:.2f}, {bounds[1]:.2f}]"


def _number(value: float | None, how: str) -> str:
    return "none" if value is None or value != value else format(value, how)


def _table(rows: Sequence[Mapping[str, str]], first: str, style: str) -> str:
    columns = [*rows[0]]
    cells = [[row.get(column, "") for column in columns] for row in rows]
    headers, align = [first, *columns[1:]], ("left", *("right" for _ in columns[1:]))
    if style == "github":  # where a bar ends a cell
        headers, *cells = [[cell.replace("|", r"\|") for cell in row] for row in (headers, *cells)]
    return tabulate(cells, headers, tablefmt=style, disable_numparse=True, colalign=align)


def protocol_lines(content: Numbers) -> list[str]:
    """What the numbers of a comparison are: data, likelihood, estimator, samples, intervals, and what speaks against
    them."""
    models = content["log_marginal"].values()
    smallest = min(model["smallest_ess"] for model in models)
    doubt = " Below 10, a data point's log p(x) may be too low by more than its error says." if smallest < 10 else ""
    estimators = sorted({estimator for model in models for estimator in model["estimators"]})
    made_by = f"by {' or '.join(estimators)} " if estimators else ""
    least, most = min(model["num_samples"][0] for model in models), max(model["num_samples"][1] for model in models)
    protocol = f" (protocol: {content['evaluation_protocol']})" if "evaluation_protocol" in content else ""
    likelihood = f"Likelihood: {' / '.join(content['likelihood'])}. " if "likelihood" in content else ""
    count = len(content["differences"])
    at_once = (
        f" Those of all {count} differences at once (Bonferroni) hold for the best of {len(models)} models, too, and "
        f"say what is above 0."
    )
    return [
        *([f"Data: {content['protocol']}."] if "protocol" in content else []),
        f"{likelihood}{_quantity(content)} in nats per data point, {made_by}with "
        f"{sample_counts(least, most)} samples for each of {content['num_data_points']:,} data points"
        f"{protocol}; a lower bound on average.",
        f"Intervals: {content['intervals']}; differences are paired by data point.{at_once if count > 1 else ''} "
        f"Smallest ESS: {smallest:.1f} of {sample_counts(least, most)}.{doubt}",
        *content["cautions"],
        *content.get("notes", ()),
        *(f"Failed: {name}, {reason}" for name, reasons in content.get("failed", {}).items() for reason in reasons),
    ]
