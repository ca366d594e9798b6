"""What can happen to the process of a command from outside: its output is closed, or it is told to stop."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, TextIO

# Windows has no SIGHUP
STOPPING = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
SECONDS = 10.0  # from one interrupt to another that is meant: a key is held down, a shell tells all its processes

_last = [-math.inf]  # when an interrupt came


class Lasting:
    """A stream that takes what is written to it for good, whether or not somebody still reads it.

    Attributes:
        lost: whether something could not be written: the reader is gone (``| head``), or the disk is full.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = open(os.devnull, "w") if stream is None else stream  # noqa: SIM115 (as long as the process)
        self.lost = False

    def write(self, text: str) -> int:
        """Write a text, to nowhere if that is not possible."""
        self._try(lambda: self.stream.write(text))
        return len(text)

    def flush(self) -> None:
        """Write what is waiting."""
        self._try(self.stream.flush)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except OSError:
            self.lost = True
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.stream.fileno())  # also for what is waiting in the stream
            os.close(nowhere)


def lasting_streams() -> list[Lasting]:
    """Standard output and error, from now on lasting: a training does not end because its output does."""
    streams = [Lasting(sys.stdout), Lasting(sys.stderr)]
    sys.stdout, sys.stderr = streams
    return streams


def stop_like_an_interrupt() -> None:
    """Let SIGTERM (a batch system's time limit) and SIGHUP do what Ctrl-C does, so that what is there is kept.

    Once is enough: those that follow do nothing, or they would end the saving; a Ctrl-C that follows later is meant.
    """
    for number in STOPPING:
        if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):  # nohup ignores SIGHUP
            signal.signal(number, _interrupt)


def stop_undisturbed() -> None:
    """Let nobody but a person end the saving any more: whoever has started several processes ends all when one has
    ended."""
    for number in _ours() - {signal.SIGINT}:
        signal.signal(number, _nothing)


def end_undisturbed() -> None:
    """Nothing is left to save: Ctrl-C ends the process at once, whatever its exit handlers wait for."""
    stop_undisturbed()
    for number in _ours():
        signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def uninterrupted(otherwise: str) -> Iterator[None]:
    """Let an interrupt wait until the block has ended, which takes seconds and is worth hours.

    Args:
        otherwise: what the interrupt says then, instead of the command's results.
    """
    told, ours = list[int](), _ours()
    for number in ours:
        signal.signal(number, lambda number, _: told.append(number))
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, _interrupt)
    if told:
        stop_undisturbed()
        raise KeyboardInterrupt(otherwise)


def _ours() -> set[signal.Signals]:
    """The signals that `stop_like_an_interrupt` has taken."""
    is_main = threading.current_thread() is threading.main_thread()  # no other may change what they do
    return {number for number in STOPPING if is_main and signal.getsignal(number) is _interrupt}


def _nothing(number: int, frame: FrameType | None) -> None:
    """Not SIG_IGN: of one that has come already Python would say that it was "ignored due to race condition"."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    stop_undisturbed()
    before, _last[0] = _last[0], time.monotonic()
    if number != signal.SIGINT or _last[0] - before > SECONDS:
        raise KeyboardInterrupt
