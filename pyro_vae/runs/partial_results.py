"""Finished parts of an evaluation on disk, so that it can be interrupted, go on, and be shared out over processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch

from ..disk.json_files import read_json
from ..disk.writing import PART, require_regular, saying
from ..evidence import BidirectionalGap, LogMarginal

SECONDS = 5.0  # between two files
WRITTEN = re.compile(rf"\d+-\d{{8}}\.(npz|json)|{PART.pattern}")  # names of the files here; others are left alone

Result = TypeVar("Result", LogMarginal, BidirectionalGap)


class PartialResults(Generic[Result]):
    """Results of some data points at a time, in files of a folder that belong to one set of settings.

    Args:
        folder: made if it is not there.
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

    def open(self) -> None:
        """Make the folder, and remove from it the results of other settings and those that are damaged."""
        if self.folder.is_symlink():
            require_regular(self.folder)
        with saying(self.folder):
            self.folder.mkdir(exist_ok=True)
        self._remove(keep=set(self._portions()))

    def add(self, numbers: list[int], result: Result) -> None:
        """Take in results of data points with these numbers; written every few seconds."""
        self.waiting.append((numbers, result))
        if time.monotonic() - self.saved > SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        if self.waiting:
            numbers = [number for some, _ in self.waiting for number in some]
            result = self.kind.join([result for _, result in self.waiting])
            about = {"numbers": numbers, "settings_sha256": self.digest}
            result.save(self.folder / f"{self.rank}-{numbers[0]:08d}", about)
            self.waiting = []
        self.saved = time.monotonic()

    def numbers(self) -> list[int]:
        """Of all finished data points."""
        return [number for numbers, _ in self._portions().values() for number in numbers]

    def finished(self, count: int) -> Result:
        """The results of all data points, by number.

        Raises:
            ValueError: those of some are not there, or were taken away meanwhile.
        """
        portions = self._portions().values()
        numbers = torch.tensor([number for some, _ in portions for number in some])
        if numbers.sort().values.tolist() != list(range(count)):
            raise ValueError(
                f"Expected results of {count:,} data points, each once, in {self.folder}; got {len(numbers):,}: files "
                f"were changed meanwhile. Give the same command again."
            )
        return self.kind.join([result for _, result in portions])[numbers.argsort()]

    def so_far(self) -> Result:
        """The results of the data points that are finished, of which there must be one."""
        return self.kind.join([result for _, result in self._portions().values()])

    def remove(self) -> None:
        """Remove the folder: the whole result is saved elsewhere."""
        self._remove(keep=set())
        with contextlib.suppress(OSError):  # it holds files of others
            self.folder.rmdir()

    def _portions(self) -> dict[str, tuple[list[int], Result]]:
        """The whole files of these settings, by name: numbers of data points, and their results."""
        found = {}
        for path in sorted(self.folder.glob("*-*.json")):
            with contextlib.suppress(FileNotFoundError, ValueError):  # damaged, or not whole
                about = read_json(path, kind=self.kind.__name__)
                if about.get("settings_sha256") == self.digest:
                    result = self.kind.load(path.with_suffix(""))
                    if len(result) == len(about["numbers"]):
                        found[path.stem] = about["numbers"], result
        return found

    def _remove(self, *, keep: set[str]) -> None:
        for path in self.folder.iterdir():
            if WRITTEN.fullmatch(path.name) and path.stem not in keep and path.is_file() and not path.is_symlink():
                path.unlink()
