"""Files that are read whole, within a limit, and never waited for."""

from __future__ import annotations

import os
import stat
from pathlib import Path

MEBIBYTE = 2**20


def read_whole(path: Path, *, limit: int | None = 64 * MEBIBYTE) -> bytes:
    """The bytes of a regular file.

    Args:
        path: a file, or a link to one. Of a pipe or a device nothing is read, which could wait or go on for ever.
        limit: largest size in bytes, looked at before anything is read; None for any.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it is no regular file, larger than the limit, or cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ValueError(f"Expected a regular file at {path}; got a folder, a pipe or a device. Move it away.")
            if limit is not None and status.st_size > limit:
                raise ValueError(f"Expected at most {limit:,} bytes in {path}; got {status.st_size:,}. Make it again.")
            return file.read()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"Expected a file at {path}; got none.") from error
    except OSError as error:
        raise ValueError(f"Expected a file that can be read at {path}; got an error: {error.strerror}.") from error
