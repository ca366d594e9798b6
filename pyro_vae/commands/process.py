"""What can happen to the process of a command from outside: its output is closed, or it is told to stop."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, TextIO


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
    """Let SIGTERM (a batch system's time limit) and SIGHUP do what Ctrl-C does, so that what is there is kept."""
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:  # nohup ignores it
            signal.signal(number, _interrupt)


def stop_undisturbed() -> None:
    """Let nothing end the saving any more: whoever has started several processes ends all when one has ended."""
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)
            if number is not None and signal.getsignal(number) is _interrupt:
                signal.signal(number, signal.SIG_IGN)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough: the next one would end the saving
    raise KeyboardInterrupt
