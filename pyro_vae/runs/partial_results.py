"""Finished images of an evaluation on disk, so that it can be interrupted, go on, and be shared out over processes."""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
import torch.distributed

from ..evidence import BidirectionalGap, LogMarginal

SECONDS = 5.0  # between two files


Result = TypeVar("Result", LogMarginal, BidirectionalGap)


class PartialResults(Generic[Result]):
    """Results of some images at a time, in files of a folder that belong to one set of settings.

    Args:
        folder: made if it is not there; what other settings left there is removed.
        kind: of the results, which joins, saves and loads them.
        settings: all that the numbers depend on.
        rank: of this process, for the names of its files.
    """

    def __init__(self, folder: Path, kind: type[Result], settings: dict[str, Any], *, rank: int = 0) -> None:
        self.folder, self.rank = folder, rank
        self.kind: type[Result] = kind
        self.digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
        self.waiting: list[tuple[list[int], Result]] = []
        self.saved = time.monotonic()

    def clear_others(self) -> None:
        """Remove the results of other settings, and make the folder."""
        mark = self.folder / "settings.sha256"
        if self.folder.exists() and (not mark.is_file() or mark.read_text() != self.digest):
            shutil.rmtree(self.folder)
        self.folder.mkdir(exist_ok=True)
        mark.write_text(self.digest)

    def add(self, numbers: list[int], result: Result) -> None:
        """Take in results of images with these numbers; written every few seconds."""
        self.waiting.append((numbers, result))
        if time.monotonic() - self.saved > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if self.waiting:
            numbers, result = self._joined(self.waiting)
            portion = self.folder / f"{self.rank}-{numbers[0]:08d}"
            result.save(portion)
            part = portion.with_suffix(".part")
            part.write_text(json.dumps(numbers))
            part.replace(portion.with_suffix(".numbers"))  # the last file: the portion is whole
            self.waiting = []
        self.saved = time.monotonic()

    def numbers(self) -> list[int]:
        """Of all finished images."""
        return [number for path in self.folder.glob("*.numbers") for number in json.loads(path.read_text())]

    def finished(self) -> Result:
        """The results of all finished images, by number; there has to be one."""
        portions = sorted(self.folder.glob("*.numbers"))
        numbers, result = self._joined(
            [(json.loads(path.read_text()), self.kind.load(path.with_suffix(""))) for path in portions]
        )
        return result[torch.tensor(numbers).argsort()]

    def remove(self) -> None:
        """Remove the folder: the whole result is saved elsewhere."""
        shutil.rmtree(self.folder)

    def _joined(self, portions: list[tuple[list[int], Result]]) -> tuple[list[int], Result]:
        numbers = [number for some, _ in portions for number in some]
        return numbers, self.kind.join([result for _, result in portions])
