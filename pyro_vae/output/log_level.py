"""How much the command line says beside its results: ``--log-level``.

===========  ==========================================================================================
``error``    errors alone
``warning``  warnings too
``info``     progress of what takes long, too; the default
``debug``    the place in the code of every warning, each time, and the traceback of an error
===========  ==========================================================================================
"""

from __future__ import annotations

import itertools
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Literal, get_args

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = get_args(Level)
OPTION = "--log-level"
PATIENCE = 2.0  # seconds of silence that nobody minds

_level: ContextVar[Level] = ContextVar("_level", default="info")


@contextmanager
def saying_no_more_than(level: Level) -> Iterator[None]:
    """Inside, nothing below this level is said.

    Example:
        >>> with saying_no_more_than("warning"):
        ...     is_said("info"), is_said("error")
        (False, True)
    """
    token = _level.set(level)
    try:
        yield
    finally:
        _level.reset(token)


def is_said(level: Level) -> bool:
    """Whether what is of this level is said."""
    return LEVELS.index(level) >= LEVELS.index(_level.get())


@contextmanager
def said_if_slow(text: str) -> Iterator[None]:
    """Say on standard error what is being done, if it takes longer than `PATIENCE`."""
    timer = threading.Timer(PATIENCE, lambda: print(text, file=sys.stderr, flush=True))
    timer.daemon = True
    if is_said("info"):
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def level_among(words: Sequence[str]) -> Level:
    """The level that a command line asks for; "info" where it asks for none, or for one that there is not.

    Example:
        >>> level_among(["--epochs", "3", "--log-level=error"])
        'error'
    """
    asked = [after for word, after in itertools.pairwise(words) if word == OPTION]
    asked += [word.partition("=")[2] for word in words if word.startswith(f"{OPTION}=")]
    return next((level for level in LEVELS if asked and asked[-1] == level), "info")
