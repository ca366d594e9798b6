"""Finished images of an evaluation on disk, so that it can be interrupted, go on, and be shared out over processes."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed

from .evidence import LogMarginal

SECONDS = 5.0  # between two files


class Portions:
    """Results of some images at a time, in files of a folder that belong to one set of settings.

    Args:
        folder: made if it is not there; what other settings left there is removed.
        settings: all that the numbers depend on.
        rank: of this process, for the names of its files.
    """

    def __init__(self, folder: Path, settings: dict[str, Any], *, rank: int = 0) -> None:
        self.folder, self.rank = folder, rank
        self.digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        self.waiting: list[LogMarginal] = []
        self.saved = time.monotonic()

    def clear_others(self) -> None:
        """Remove the results of other settings, and make the folder."""
        mark = self.folder / "settings.sha256"
        if self.folder.exists() and (not mark.is_file() or mark.read_text() != self.digest):
            shutil.rmtree(self.folder)
        self.folder.mkdir(exist_ok=True)
        mark.write_text(self.digest)

    def add(self, numbers: list[int], result: LogMarginal) -> None:
        """Take in results of images with these numbers; written every few seconds."""
        self.waiting.append(result.with_details(number=torch.tensor(numbers)))
        if time.monotonic() - self.saved > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if self.waiting:
            portion = LogMarginal.join(self.waiting)
            portion.save(self.folder / f"{self.rank}-{int(portion.details['number'][0]):08d}")
            self.waiting = []
        self.saved = time.monotonic()

    def finished(self) -> LogMarginal | None:
        """All results there are, by number of image; None for none."""
        found = [LogMarginal.load(path.with_suffix("")) for path in sorted(self.folder.glob("*.npz"))]
        if not found:
            return None
        joined = LogMarginal.join(found)
        return joined[joined.details["number"].argsort()]

    def remove(self) -> None:
        """Remove the folder: the whole result is saved elsewhere."""
        shutil.rmtree(self.folder)


@contextmanager
def processes(device: torch.device) -> Iterator[tuple[int, int]]:
    """Rank and number of the processes that torchrun has started, or 0 and 1."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield 0, 1
        return
    torch.distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield torch.distributed.get_rank(), count
    finally:
        torch.distributed.destroy_process_group()


def wait_for_others(count: int) -> None:
    """Go on when all processes have come here."""
    if count > 1:
        torch.distributed.barrier()
