"""Progress of long work, with its speed and the time that is left: a bar on a terminal or in a notebook, a line now and
then where the output is a file."""

from __future__ import annotations

import sys
import threading
import time
from typing import Any, Protocol

from tqdm import tqdm
from tqdm.auto import tqdm as bar_of_notebook

from .log_level import PATIENCE, is_said

FEW = 3  # units that tell the speed, at least
BETWEEN = 10.0  # seconds between two lines, at least, and
SHARE = 0.1  # of the time since the beginning: the log of a week on a cluster stays readable


class Progress(Protocol):
    """What work that takes long says of itself; a context manager, closed at its end."""

    def update(self, n: float = 1) -> Any:
        """So many units more are done."""

    def set_description(self, desc: str) -> Any:
        """What is being done now."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *error: Any) -> Any: ...


def progress_bar(total: int | None, *, unit: str, shown: bool, description: str = "", scaled: bool = False) -> Progress:
    """A bar on a terminal and in a notebook, after two seconds or once it is described; elsewhere, as in the log of a
    cluster, a line after two seconds, then each ten, then more and more rarely.

    Args:
        total: units of work; None where that is not known.
        unit: what one of them is called.
        shown: whether there is anything to see; nothing is where ``--log-level`` is above "info".
        description: what is done.
        scaled: whether large numbers are shortened, 12.3k.

    Example:
        >>> with progress_bar(3, unit="step", shown=False) as bar:
        ...     for _ in range(3):
        ...         _ = bar.update()
    """
    shown = shown and is_said("info")
    is_notebook = type(sys.stderr).__module__.startswith("ipykernel")
    is_terminal = hasattr(sys.stderr, "isatty") and sys.stderr.isatty()  # somebody sees what is written
    if shown and not is_notebook and not is_terminal:
        return _Lines(total, unit, description)
    return (bar_of_notebook if is_notebook else tqdm)(
        total=total,
        unit=unit,
        unit_scale=scaled,
        desc=description or None,
        disable=not shown,
        leave=is_notebook,
        delay=PATIENCE,
    )


def begun_at(bar: Progress, done: int) -> None:
    """Let a bar begin where earlier work had come to, which says nothing about the speed of this one."""
    if isinstance(bar, _Lines):
        bar.done = bar.seen = bar.then = done
    elif isinstance(bar, tqdm):
        bar.initial = bar.n = done
        bar.refresh()


def expect(bar: Progress, total: int) -> None:
    """Let a bar know how many units there will be in all, where that is seen only on the way."""
    if isinstance(bar, _Lines):
        bar.total = total
    elif isinstance(bar, tqdm) and not bar.disable:
        bar.total = total  # to be seen at its next update


class _Lines:
    """Lines on standard error, none of work that takes less than `PATIENCE`.

    They come from a thread of their own: also where one unit of work takes long, as the first step does that is
    compiled.
    """

    def __init__(self, total: int | None, unit: str, description: str) -> None:
        self.total, self.unit, self.description, self.done = total, unit, description, 0.0
        self.started = time.monotonic()
        self.line, self.seen = "", 0.0  # the line before, and what was done then
        self.since, self.then = self.started, 0.0  # from when on, and from what on, the speed is measured
        self.over = threading.Event()
        self.speaker = threading.Thread(target=self._speak, daemon=True)

    def update(self, n: float = 1) -> None:
        self.done += n

    def set_description(self, desc: str) -> None:
        self.description = desc

    def say(self) -> None:
        now, done = time.monotonic(), self.done
        what = f"{self.description}: " if self.description else ""
        of = "" if self.total is None else f" of {self.total:,}"
        line = f"{what}{done:,.0f}{of} {self.unit}s, {duration(now - self.started)}"
        if tells := done - self.then >= FEW:
            speed = (done - self.then) / max(now - self.since, 1e-9)
            line += f", {speed:,.3g} {self.unit}s/s" if speed < 1000 else f", {speed:,.0f} {self.unit}s/s"
            if self.total is not None and done < self.total:
                line += f", {duration((self.total - done) / speed)} left"
        if line != self.line:
            print(line, file=sys.stderr, flush=True)
        if tells or done == self.seen:  # where nothing is done, something is compiled, say
            self.since, self.then = now, done
        self.line, self.seen = line, done

    def _speak(self) -> None:
        wait = PATIENCE
        while not self.over.wait(wait):
            self.say()
            wait = max(BETWEEN, SHARE * (time.monotonic() - self.started))

    def __enter__(self) -> _Lines:
        self.speaker.start()
        return self

    def __exit__(self, *error: Any) -> None:
        self.over.set()
        self.speaker.join()
        if self.done > self.seen and time.monotonic() - self.started >= BETWEEN:  # the last line says where it ended
            self.say()


def duration(seconds: float) -> str:
    """Seconds in words.

    Example:
        >>> duration(7.3), duration(140), duration(7300)
        ('7 s', '2 min 20 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"
