"""What a run calls the numbers that its pair takes: columns of x, categories of other inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from ..data import Data
from ..data.categories import Categories
from ..data.csv_parquet import SUFFIXES as TABLES
from ..data.names import some


def inputs_of(config: Namespace) -> dict[str, str] | None:
    """The arrays that the pair is called with, by argument; None for x alone."""
    found: dict[str, str] = {}
    for word in config.inputs:
        argument, _, array = word.partition("=")
        if not (argument.isidentifier() and array) or argument in found:
            raise ValueError(f"Expected --inputs as ARGUMENT=ARRAY, each argument once; got {word!r}.")
        found[argument] = array
    return found or None


def columns_of(about: Mapping[str, Any], source: str) -> list[str] | None:
    """The names that the columns of x have to have in other data for a run: None where those or the run's have none."""
    return about.get("columns") if Path(source).suffix.lower() in TABLES else None


def categories_of(config: Namespace, about: Mapping[str, Any]) -> dict[str, Sequence[str]] | None:
    """The names of the categories of the inputs of a run, by their arrays: those that numbers in other data have to
    have. None where the run does not say, made before runs did: then its own data do."""
    if (inputs := inputs_of(config)) and "categories" not in about:
        return None
    found = about.get("categories", {})
    return {array: found[array] for array in (inputs or {}).values() if array in found}


@dataclass(frozen=True)
class NamedInputs:
    """Names of what a pair is called with.

    Attributes:
        columns: of x; empty where it has none.
        categories: names of 0, 1, ..., by the argument of the pair.
    """

    columns: Sequence[str] = ()
    categories: Categories = field(default_factory=dict)

    @classmethod
    def of_data(cls, config: Namespace, dataset: Data) -> NamedInputs:
        """Those of the data of a training."""
        return cls(dataset.columns or (), _by_argument(config, dataset.categories))

    @classmethod
    def of_run(cls, config: Namespace, about: Mapping[str, Any]) -> NamedInputs:
        """Those that a run was trained on, by its settings and its run.json."""
        return cls(about.get("columns") or (), _by_argument(config, about.get("categories") or {}))

    def difference_to(self, here: NamedInputs) -> str:
        """In words, the first column of x that is known by another name or in another place here, or the first input
        that has other categories; empty if there is none, or one of the two has no names or other columns.

        Example:
            >>> there = NamedInputs(["height", "weight"], {"y": ["B", "T"]})
            >>> there.difference_to(NamedInputs(["weight", "height"]))
            "column 1 is 'height' there and 'weight' here"
            >>> there.difference_to(NamedInputs(categories={"y": ["NK", "T"]}))
            'the categories of y are B, T there and NK, T here'
            >>> there.difference_to(NamedInputs())
            ''
        """
        if len(self.columns) == len(here.columns):
            for n, (a, b) in enumerate(zip(self.columns, here.columns, strict=True), 1):
                if a != b:
                    return f"column {n} is {a!r:.42} there and {b!r:.42} here"
        for argument, names in self.categories.items():
            others = here.categories.get(argument, names)
            if list(names) != list(others):
                return f"the categories of {argument} are {some(names)} there and {some(others)} here"
        return ""


def _by_argument(config: Namespace, categories: Categories) -> Categories:
    return {a: categories[array] for a, array in (inputs_of(config) or {}).items() if array in categories}
