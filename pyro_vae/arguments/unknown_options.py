"""What is wrong with options that there are not, in a sentence."""

from __future__ import annotations

import re
from collections.abc import Sequence

from .nearest import did_you_mean


def unknown_options(words: str, known: Sequence[str]) -> str:
    """What is wrong with words that belong to no option.

    Example:
        >>> unknown_options("--epoch-s 3", ["--epochs", "--seed"])
        'unknown option --epoch-s 3. Did you mean --epochs?'
    """
    first, *others = (_unknown(given, known) for given in re.split(r" (?=--)", words))
    return " ".join([first, *(other[0].upper() + other[1:] for other in others)])


def _unknown(given: str, known: Sequence[str]) -> str:
    if not given.startswith("-"):
        return f"Expected nothing after the options; got {given}."
    option = given.split()[0].partition("=")[0]
    part, dot, _ = option.partition(".")
    if dot and part in known:  # an option of a part: its own ones alone are meant
        takes = [k for k in known if k.startswith(f"{part}.") and not k.endswith("+")]
        return f"unknown option {given}. The class chosen by {part} takes {', '.join(takes) or 'no options'}."
    return f"unknown option {given}.{did_you_mean(option, known) or ' --help lists those that there are.'}"
