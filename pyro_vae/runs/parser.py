"""How the command line reads its arguments, shows its help and says errors."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from jsonargparse import ArgumentParser, DefaultHelpFormatter

from ..arguments.nearest import did_you_mean

# Types in the words of a user.
KINDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "NoneType": "null",
    "collections.abc.Sequence": "a list such as [300,300]",
    "list": "a list such as [0,3]",
}


class HelpFormatter(DefaultHelpFormatter):
    """Shows the default of an option, where it has one, without its type in the words of Python."""

    def _get_help_string(self, action: Any) -> str:
        text = super()._get_help_string(action).replace("type: %(type)s", "")
        text = text if action.default is not None else text.replace("default: %(default)s", "")
        return text.replace("(, ", "(").replace(", )", ")").replace(" ()", "")


class Parser(ArgumentParser):
    """Shows ``--prior NAME`` for what is kept as ``prior.name``, and says errors on one line."""

    def __init__(self, prog: str | None = None, description: str | None = None, version: str | None = None) -> None:
        super().__init__(
            prog=prog,
            description=description,
            version=version,
            formatter_class=HelpFormatter,
            allow_abbrev=False,  # a mistyped option is an error, not the option it is short for
        )

    def format_help(self, *formatter: Any) -> str:
        """The help text, parts by their short option; the columns stay where they are."""
        text = super().format_help(*formatter).replace(".name NAME", " NAME     ")
        return re.sub(r" +(?=\]|$)", "", text, flags=re.MULTILINE)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong on one line and exit with code 2."""
        known = [option for action in self._actions for option in action.option_strings]
        fail(readable(str(message), known))


def fail(message: str) -> NoReturn:
    """One line for the user, exit code 2."""
    print(f"pyro-vae: error: {message}", file=sys.stderr)
    sys.exit(2)


def readable(message: str, known: Sequence[str]) -> str:
    """A parser's message on one line, with the nearest of the known options where one was mistyped.

    Example:
        >>> readable("unrecognized arguments: --epoch-s 3", ["--epochs", "--seed"])
        'unknown option --epoch-s 3. Did you mean --epochs?'
    """
    text = " ".join(message.split())
    if unknown := re.fullmatch(r"unrecognized arguments: (.*)", text):
        first, *others = (_unknown(given, known) for given in re.split(r" (?=--)", unknown[1]))
        return " ".join([first, *(other[0].upper() + other[1:] for other in others)])
    if command := re.fullmatch(r"argument COMMAND: invalid choice: '(.*)' \(choose from (.*)\)", text):
        names = command[2].replace("'", "").split(", ")
        return f"Expected one of the commands {', '.join(names)}; got {command[1]}.{did_you_mean(command[1], names)}"
    if missing := re.fullmatch(r"the following arguments are required: (.*)", text):
        asked = (re.sub(r"^\w+\.runs?$", "RUN", name) for name in missing[1].split(", "))
        names = (name.removeprefix("train.").removeprefix("compare.") for name in asked)
        return f"Expected {', '.join(name if name.isupper() else '--' + name for name in names)}; got nothing for it."
    key, given = re.search(r'[Kk]ey "([\w.]+)"', text), re.search(r"(?:Given value|Got value|got value): ?(.*)$", text)
    kinds = re.findall(r"Expected an? (?:<class '([\w.]+)'>|typing\.Literal\[(.*?)\])", text)
    wanted = list(
        dict.fromkeys(choices.replace("'", "").replace(", ", " or ") or KINDS.get(k, k) for k, choices in kinds)
    )
    if key and given and wanted:
        option = "--" + key[1].removesuffix(".name").replace("_", "-" if "." not in key[1] else "_")
        return f"Expected {option} to be {' or '.join(wanted)}; got {given[1] or 'nothing'}."
    if lacking := re.fullmatch(r"argument (--\S+): expected one argument", text):
        option = lacking[1].removesuffix(".name")
        return f"Expected a value for {option}; got none. One that starts with a dash is given as {option}=-1."
    return text.replace(".name", "")


def _unknown(given: str, known: Sequence[str]) -> str:
    """What is wrong with one option that does not exist, or with words that belong to none."""
    if not given.startswith("-"):
        return f"Expected nothing after the options; got {given}."
    option = given.split()[0].partition("=")[0]
    part, dot, _ = option.partition(".")
    near = did_you_mean(option, known)
    if dot:  # an option of a part: its own ones alone are meant
        takes = [k for k in known if k.startswith(f"{part}.") and not k.endswith((".name", "+"))]
        near = f" The class chosen by {part} takes {', '.join(takes) or 'no options'}."
    return f"unknown option {given}.{near}".replace(".name", "")
