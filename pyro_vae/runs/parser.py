"""How the command line reads its arguments, shows its help and says errors."""

from __future__ import annotations

import argparse
import re
import typing
from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, Namespace

from ..arguments.unknown_options import unknown_options
from ..output.log_level import OPTION, Level
from .argparse_private import HelpFormatter, actions, type_of

# Types in the words of a user.
KINDS: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    NoneType: "null",
    Sequence: "a list such as [300,300]",
    list: "a list such as [0,3]",
}


class Parser(ArgumentParser):
    """A parser of typed options that says what is wrong in one sentence, by raising ValueError."""

    def __init__(self, prog: str = "pyro-vae", description: str | None = None) -> None:
        # A mistyped option is an error, not the option it is short for.
        super().__init__(prog=prog, description=description, formatter_class=HelpFormatter, allow_abbrev=False)
        self.usage = f"{prog} [OPTIONS]"
        text = "Beside the results, say: error, warning (both), info (progress, too), debug (and places in the code)."
        self.add_argument(OPTION, type=Level, default="info", metavar="LEVEL", help=text)
        self.kinds_of_parts: list[str] = []  # options such as --prior, which are read before the parser is made

    def known(self) -> list[str]:
        """All options."""
        return [option for action in actions(self) for option in action.option_strings] + self.kinds_of_parts

    def names(self) -> set[str]:
        """Under which names the values of all options and positional arguments come."""
        return {action.dest for action in actions(self)}

    def check(self, values: Mapping[str, Any]) -> None:
        """Raise ValueError unless these settings have the right types; those that are made defaults are not checked."""
        for action in actions(self):
            if action.nargs == "*" and isinstance(value := values.get(action.dest), dict):  # which it would change
                raise ValueError(f"Expected {action.option_strings[0]} to be a list; got {value!r:.90}.")
        settings = Namespace()
        for key, value in values.items():
            settings[key] = value
        try:
            self.validate(settings, False, True)  # None as well; what is required may come later
        except (TypeError, KeyError) as error:
            self.error(str(error), error)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise ValueError with one sentence."""
        raise ValueError(self._sentence(" ".join(str(message).split()), ex)) from None

    def _sentence(self, text: str, error: Exception | None) -> str:
        """A message of the parser in our words; it names settings and values in its text alone."""
        if isinstance(error, argparse.ArgumentError) and "expected one argument" in error.message:
            option = error.argument_name
            return f"Expected a value for {option}; got none. One that starts with a dash is given as {option}=-1."
        if unknown := re.search("[Uu]nrecognized arguments: (.*)", text):
            return unknown_options(unknown[1], self.known())
        if missing := re.search(r"arguments are required: (\S+)\b|[Kk]ey \"(\S+)\" is required", text):
            name = missing[1] or missing[2]
            positional = [action.dest for action in actions(self) if not action.option_strings]
            word = "RUN" if name == "runs" else name.upper() if name in positional else f"--{name}"
            return f"Expected {word}; got nothing for it."
        key, value = re.search(r"[Kk]ey \"([\w.]+)\"", text), re.search(r"[Gg](?:iven|ot) value: ?(.*)$", text)
        action = next((action for action in actions(self) if key and action.dest == key[1]), None)
        if action is None or value is None:
            return text
        wanted = " or ".join(kinds(type_of(action)))
        return f"Expected {action.option_strings[0]} to be {wanted}; got {value[1] or 'nothing'}."


def in_help(text: str) -> str:
    """A text without the per cent sign, which versions of jsonargparse want doubled or not.

    Example:
        >>> in_help("has its 5%")
        'has its 5 percent'
    """
    return text.replace("%", " percent")


def kinds(hint: Any) -> list[str]:
    """What a type hint accepts, in the words of a user.

    Example:
        >>> kinds(int | None)
        ['a whole number', 'null']
        >>> kinds(typing.Literal["auto"] | bool)
        ['auto', 'true or false']
    """
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, UnionType):
        return [kind for each in inner for kind in kinds(each)]
    if origin is typing.Literal:
        return [str(choice) for choice in inner]
    return [KINDS.get(origin or hint, str(getattr(hint, "__name__", hint)))]
