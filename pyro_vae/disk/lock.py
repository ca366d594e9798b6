"""One process at a time."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from .reading import read_whole
from .writing import saying


@contextlib.contextmanager
def locked(path: Path, *, doing: str) -> Iterator[None]:
    """Hold a lock while the block runs; the system releases it when the process dies, however that happens.

    Args:
        path: of the lock; the files PATH.lock, which stays, and PATH.holder, which says who holds it, belong to it.
        doing: what is locked, for the message, such as "training into runs/a".

    Raises:
        BlockingIOError: another process holds it; says which one.
        OSError: no lock can be made there.
    """
    holder = Path(f"{path}.holder")
    lock = FileLock(f"{path}.lock", timeout=0)
    try:
        with saying(path):
            lock.acquire()
    except Timeout as error:
        raise BlockingIOError(
            f"Expected no other process {doing}; {_who(holder)} does it now. Wait for it to end, or stop it."
        ) from error
    try:
        since = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
        with contextlib.suppress(OSError):  # a message with less in it, no more
            holder.write_text(json.dumps({"pid": os.getpid(), "host": socket.gethostname(), "since": since}))
        yield
    finally:
        with contextlib.suppress(OSError):
            holder.unlink()
        lock.release()


def _who(holder: Path) -> str:
    try:
        found = json.loads(read_whole(holder, limit=4096))
        return f"process {found['pid']} on {found['host']}, since {found['since']},"
    except (OSError, ValueError, TypeError, KeyError):
        return "one"
