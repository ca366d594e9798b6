"""The estimators of log p(x) under the names that the command line and run folders have for them.

Every function that `pyro_vae.evidence` exports and that returns estimates is one: ``NAME_log_marginal``, or just
``NAME``, is ``--estimator NAME``. Its keyword arguments are its options, with the types, defaults and words that they
have there; those that every estimator takes are given by the command:

=============  ==================================================================================
``seed``       of the draws
``progress``   show a progress bar
``only``       numbers of the data points to estimate: one process's share, or what was left
``on_result``  called with numbers of data points and their results, as soon as they are there
=============  ==================================================================================
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .. import evidence
from ..evidence import BidirectionalGap, LogMarginal
from .parts import described

GIVEN = ("seed", "progress", "only", "given", "on_result", "compile")
FOR_SPEED = ("chunk_size", "memory_budget")  # options that the numbers do not depend on


@dataclass(frozen=True)
class Estimator:
    """An estimator by name.

    Attributes:
        name: after ``--estimator``.
        function: called with model, guide and data.
        fixed: arguments that make the function this estimator.
    """

    name: str
    function: Callable[..., Any]
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> type[LogMarginal] | type[BidirectionalGap]:
        """What it returns."""
        return typing.get_type_hints(self.function)["return"]

    @property
    def options(self) -> dict[str, tuple[Any, Any, str]]:
        """Its options: by name the type, the default (or ``inspect.Parameter.empty``), the help."""
        hints, helps = typing.get_type_hints(self.function), described(self.function)
        return {
            name: (hints[name], parameter.default, helps.get(name, ""))
            for name, parameter in inspect.signature(self.function).parameters.items()
            if parameter.kind is parameter.KEYWORD_ONLY and name not in {*GIVEN, *self.fixed}
        }


def _estimators() -> dict[str, Estimator]:
    plain = evidence.log_marginal
    found = [
        Estimator("auto", plain, {"estimator": "auto", "precision": "fp32"}),
        Estimator("guide", plain, {"estimator": "guide"}),
    ]
    for name, function in inspect.getmembers(evidence, inspect.isfunction):
        returned = typing.get_type_hints(function).get("return")
        if function is not plain and returned in (LogMarginal, BidirectionalGap):
            found.append(Estimator(name.removesuffix("_log_marginal"), function))
    return {estimator.name: estimator for estimator in found}


ESTIMATORS = _estimators()
