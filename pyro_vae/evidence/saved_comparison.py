"""A comparison out of its JSON, whose entries are what they are said to be."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..disk.json_files import has_form, read_json
from .measured import Measured

CURE = "Run its command again, which makes the table anew from the runs that are there."
OF_A_COMMAND = ("threads", "device", "date", "seconds")
AS_THEY_ARE = ("smallest_ess", "unreliable", "undecided", "quantity")
NUMBER = (int, float)
_MEASURED = {
    **dict.fromkeys(("value", "standard_error", "low", "high", "standard_error_over_data_points_alone"), NUMBER),
    "monte_carlo_error": (*NUMBER, type(None)),
    "over_data_points_alone": [NUMBER, NUMBER],
}
_MODEL = {
    **_MEASURED,
    "seeds": [NUMBER],
    **dict.fromkeys(("num_seeds", "unreliable", "undecided"), int),
    "num_samples": [int, int],
    **dict.fromkeys(("smallest_ess", "from_fitted_proposals"), NUMBER),
    "largest_khat": (*NUMBER, type(None)),
    "estimators": [str],
    "quantity": str,
}
_PAIR = {**_MEASURED, "a": str, "b": str, "simultaneous": [NUMBER, NUMBER], "over_seeds": bool}
TYPES = {  # of what is read from comparison.json again
    "log_marginal": {str: _MODEL},
    "differences": [_PAIR],
    "num_data_points": int,
    **dict.fromkeys(("protocol", "evaluation_protocol", "command", "device", "date", "varied"), str),
    **{key: [str] for key in ("likelihood", "marked", "notes")},
    "runs": {str: [str]},
    "failed": {str: [str]},
    "threads": int,
    "seconds": NUMBER,
}


def read_comparison(path: Path) -> dict[str, Any]:
    """All numbers of the comparison that ``comparison.json`` holds, by the attributes of a `Comparison`, and under
    "about" what it holds besides.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is damaged, was changed, or is of a version that did not keep as much.
    """
    if not path.is_file():
        raise FileNotFoundError(f"Expected a folder made by pyro-vae compare; got no {path}.")
    content = read_json(path, kind="comparison")
    needed = {"log_marginal", "differences", "num_data_points", *(OF_A_COMMAND if "command" in content else ())}
    wrong = [name for name, form in TYPES.items() if name in content and not has_form(content[name], form)]
    if wrong := [*wrong, *sorted(needed - content.keys())]:
        raise ValueError(
            f"Expected all numbers of a comparison in {path}; got none or others in {', '.join(wrong)}: it is of "
            f"another version. {CURE}"
        )
    models, pairs = content["log_marginal"], {(pair["a"], pair["b"]): pair for pair in content["differences"]}
    if not models or not all(model["seeds"] for model in models.values()):
        raise ValueError(f"Expected models with seeds in {path}; got {', '.join(models) or 'none'}. {CURE}")
    if sorted(map(sorted, pairs)) != [[*pair] for pair in itertools.combinations(sorted(models), 2)]:
        raise ValueError(f"Expected the difference of each pair of models in {path}; got {len(pairs)}. {CURE}")
    own = {"unit", "num_data_points", "num_samples", "intervals", "cautions", "log_marginal", "differences"}
    return {
        "log_marginal": {name: _measured(model) for name, model in models.items()},
        "differences": {names: _measured(pair) for names, pair in pairs.items()},
        "simultaneous": {names: _measured(pair, pair["simultaneous"]) for names, pair in pairs.items()},
        "of_these_runs": {
            names: _measured(n, n["over_data_points_alone"], error=n["standard_error_over_data_points_alone"])
            for names, n in {**models, **pairs}.items()
        },
        "seed_means": {name: tuple(model["seeds"]) for name, model in models.items()},
        "num_data_points": content["num_data_points"],
        "num_samples": {name: tuple(model["num_samples"]) for name, model in models.items()},
        "largest_khat": {name: _or_nan(model["largest_khat"]) for name, model in models.items()},
        "fitted": {name: model["from_fitted_proposals"] for name, model in models.items()},
        "estimators": {name: tuple(model["estimators"]) for name, model in models.items()},
        **{key: {n: model[key] for n, model in models.items()} for key in AS_THEY_ARE},
        "about": {name: value for name, value in content.items() if name not in own},
    }


def _measured(numbers: Mapping[str, Any], interval: Sequence[float] = (), *, error: float | None = None) -> Measured:
    low, high = interval or (numbers["low"], numbers["high"])
    standard_error = numbers["standard_error"] if error is None else error
    return Measured(numbers["value"], standard_error, _or_nan(numbers["monte_carlo_error"]), low, high)


def _or_nan(value: float | None) -> float:
    """JSON has no nan, for which null stands."""
    return math.nan if value is None else value
