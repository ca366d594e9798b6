"""Progress of long work: a bar on a terminal or in a notebook, a line now and then where the output is a file."""

from __future__ import annotations

import sys
import time
from typing import Any, Protocol

from tqdm import tqdm
from tqdm.auto import tqdm as bar_of_notebook

SECONDS = 10.0  # between two lines


class Progress(Protocol):
    """What work that takes long says of itself; a context manager, closed at its end."""

    def update(self, n: float = 1) -> Any:
        """So many units more are done."""

    def set_description(self, desc: str) -> Any:
        """What is being done now."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *error: Any) -> Any: ...


def progress_bar(total: int | None, *, unit: str, shown: bool, description: str = "", scaled: bool = False) -> Progress:
    """A bar on a terminal and in a notebook; elsewhere, as in the log of a cluster, a line each ten seconds.

    Args:
        total: units of work; None where that is not known.
        unit: what one of them is called.
        shown: whether there is anything to see.
        description: what is done.
        scaled: whether large numbers are shortened, 12.3k.

    Example:
        >>> with progress_bar(3, unit="step", shown=False) as bar:
        ...     for _ in range(3):
        ...         _ = bar.update()
    """
    is_notebook = type(sys.stderr).__module__.startswith("ipykernel")
    if shown and not is_notebook and not (hasattr(sys.stderr, "isatty") and sys.stderr.isatty()):
        return _Lines(total, unit, description)
    bar: Progress = (bar_of_notebook if is_notebook else tqdm)(
        total=total, unit=unit, unit_scale=scaled, desc=description or None, disable=not shown, leave=is_notebook
    )
    return bar


class _Lines:
    """Lines on standard error, none of work that takes less than the time between two."""

    def __init__(self, total: int | None, unit: str, description: str) -> None:
        self.total, self.unit, self.description, self.done, self.line = total, unit, description, 0.0, ""
        self.started = self.said = time.monotonic()

    def update(self, n: float = 1) -> None:
        self.done += n
        if time.monotonic() - self.said >= SECONDS:
            self.say()

    def set_description(self, desc: str) -> None:
        self.description = desc

    def say(self) -> None:
        self.said = time.monotonic()
        what = f"{self.description}: " if self.description else ""
        of = "" if self.total is None else f" of {self.total:,}"
        line = f"{what}{self.done:,.0f}{of} {self.unit}s, {self.said - self.started:.0f} s"
        if line != self.line:  # the end may come right after a line
            print(line, file=sys.stderr, flush=True)
        self.line = line

    def __enter__(self) -> _Lines:
        return self

    def __exit__(self, *error: Any) -> None:
        if self.said > self.started:  # the last line says where it ended
            self.say()
