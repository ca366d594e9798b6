"""What a search varies, as it is typed: ``learning_rate=1e-4..1e-2``, ``prior=LARS,VampPrior``."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..arguments.nearest import did_you_mean
from .candidates import VARIED, candidate_parts
from .grid import OF_THE_DATA, setting_names
from .parts import PARTS, find_class, options
from .settings import Layer

WIDE = 10  # a range with such a ratio of its ends is searched by its logarithm


@dataclass(frozen=True)
class Axis:
    """A setting that is searched.

    Attributes:
        name: of the setting; of a part ("prior") or of an option of it ("prior.num_components").
        choices: the values; of a range, its two ends.
        is_range: whether all numbers between the two are meant: whole ones where both ends are.
    """

    name: str
    choices: tuple[Any, ...]
    is_range: bool

    @property
    def is_logarithmic(self) -> bool:
        """Whether the logarithm of the value is what is searched evenly."""
        low, high = self.choices[0], self.choices[-1]
        return bool(self.is_range and low > 0 and high >= WIDE * low)

    def suggested(self, trial: Any) -> Any:
        """The value that a trial of Optuna takes."""
        if not self.is_range:
            return trial.suggest_categorical(self.name, self.choices)
        low, high = self.choices
        suggest = trial.suggest_int if isinstance(low, int) else trial.suggest_float
        return suggest(self.name, low, high, log=self.is_logarithmic)

    def nearest(self, value: Any) -> Any:
        """A value as this axis has it; None where it is none of those that are searched.

        Example:
            >>> Axis("learning_rate", ("1e-3", "1e-4"), False).nearest(0.001)
            '1e-3'
        """
        if self.is_range:
            within = isinstance(value, int | float) and self.choices[0] <= value <= self.choices[1]
            return value if within else None
        return next((choice for choice in self.choices if _same(choice, value)), None)


def _same(choice: str, value: Any) -> bool:
    if isinstance(value, int | float) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):
            return float(choice) == value
    return choice == str(value)


def axes_of(words: Sequence[str]) -> list[Axis]:
    """The axes of a search, the parts first: their options depend on them.

    Raises:
        ValueError: there is none; one is not written as NAME=LOW..HIGH or NAME=A,B; no such setting, one of the data,
            or one twice.

    Example:
        >>> [axis.choices for axis in axes_of(["learning_rate=1e-4..1e-2", "latent_dim=4..64", "prior=LARS,VampPrior"])]
        [('LARS', 'VampPrior'), (0.0001, 0.01), (4, 64)]
    """
    axes = [_axis(word) for word in words]
    if not axes:
        raise ValueError("Expected --search and what, such as learning_rate=1e-4..1e-2 latent_dim=4..64; got nothing.")
    names = [axis.name for axis in axes]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ValueError(f"Expected each setting once in --search; got {twice[0]} twice.")
    return sorted(axes, key=lambda axis: axis.name not in PARTS)


def _axis(word: str) -> Axis:
    name, equals, text = word.partition("=")
    name = name.removeprefix("--").replace("-", "_")
    known = {*VARIED.values(), *setting_names()}
    if not equals or not text:
        raise ValueError(f"Expected --search NAME=LOW..HIGH or NAME=A,B,C; got {word!r}.")
    is_option = "." in name and name.partition(".")[0] in PARTS
    if name in OF_THE_DATA or not (name in known or is_option):
        one = "a setting of the training or a part" if name in OF_THE_DATA else "the name of a setting or of a part"
        raise ValueError(f"Expected {one} in --search; got {name}.{did_you_mean(name, known - OF_THE_DATA)}")
    if found := re.fullmatch(r"(.+)\.\.(.+)", text):
        low, high = (_number(end, word) for end in found.groups())
        if not isinstance(low, int) or not isinstance(high, int):
            low, high = float(low), float(high)
        if not low < high:
            raise ValueError(f"Expected a range from the smaller to the larger number in --search; got {word!r}.")
        return Axis(name, (low, high), True)
    choices = tuple(re.split(r",(?!\w+=)", text)) if name in PARTS else tuple(text.split(","))
    if len({*choices}) < max(2, len(choices)):
        raise ValueError(f"Expected at least two different values in --search; got {word!r}.")
    return Axis(name, choices, False)


def _number(text: str, word: str) -> int | float:
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    raise ValueError(f"Expected numbers at the ends of a range in --search; got {word!r}.")


def chosen_layer(axes: Sequence[Axis], base: Layer, value_of: Callable[[Axis], Any]) -> Layer:
    """Classes and values that a search has chosen; an option of a part only where the class of the part has it.

    Args:
        axes: of the search, the parts first.
        base: settings below them.
        value_of: the value of an axis; it is asked for in their order.
    """
    names: dict[str, str] = {}
    values: dict[str, Any] = {}
    for axis in axes:
        part, _, option = axis.name.partition(".")
        if axis.name in PARTS:
            of_part, arguments = candidate_parts(value_of(axis), part)
            names |= of_part
            values |= arguments
        elif not option or option in options(find_class(part, {**base[0], **names}.get(part, ""))):
            values[axis.name] = value_of(axis)
    return names, values
