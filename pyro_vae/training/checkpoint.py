"""A training that goes on after a kill as if nothing had happened: what is saved of it, and how it is put back."""

from __future__ import annotations

import contextlib
import math
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pyro.infer import ELBO

from ..arguments.at_least import at_least
from ..compiled.elbo import CompiledELBO
from ..disk.lock import locked
from ..disk.writing import saying
from .checkpoint_files import keep_newest, read_newest, write
from .course import Course
from .sameness import comparable, require_equal
from .sharing import ALONE, Share


@dataclass(frozen=True)
class Checkpoint:
    """Where and how often `fit` saves a training, so that the same call goes on with it after a kill.

    Args:
        folder: for its files, checkpoint-EPOCH.json and checkpoint-EPOCH.safetensors.
        minutes: least time between two of them; 0 saves after each epoch. An interrupt saves the last whole epoch.
        keep: leave the last one there when the training is over, so that the number of epochs can be raised later.
        settings: what else must be the same where the training goes on, such as those that the pair was made with;
            numbers, words, and lists and dicts of them.
        epochs: after so many it is saved, however short they are; None for as many as the minutes take.
        count: how many of the newest stay: the last one, and others that are used where it is damaged.

    Raises:
        ValueError: minutes is negative, or epochs or count is not a whole number of at least 1.

    Example:
        >>> Checkpoint("runs/mine", minutes=1.0).folder
        'runs/mine'
    """

    folder: str | Path
    minutes: float = 5.0
    keep: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    count: int = 2

    def __post_init__(self) -> None:
        if not self.minutes >= 0:
            raise ValueError(f"Expected minutes >= 0 between two checkpoints; got {self.minutes}.")
        at_least(1, epochs=self.epochs, count=self.count)


class Saver:
    """Saves the course of a training now and then; without a `Checkpoint`, never.

    Attributes:
        found: the state that is to be gone on from, if there is one.
    """

    def __init__(self, checkpoint: Checkpoint | None, share: Share = ALONE) -> None:
        self.checkpoint, self.share = checkpoint, share
        self.found: dict[str, Any] | None = None
        self._before: dict[str, Any] = {}
        self._settings: dict[str, Any] = {}
        self._latest: dict[str, Any] | None = None  # of the last epoch, while it is not on disk
        self._unsaved = 0  # epochs
        if checkpoint is not None:
            self._saved = time.monotonic()
            if (newest := read_newest(Path(checkpoint.folder))) is not None:
                self._before, self.found = newest["settings"], newest["state"]
        self._before, self.found = share.from_first((self._before, self.found))

    def as_before(self, saves: float) -> float:
        """Seconds that compiling would save: such that it is done if it was in the part of the training before."""
        if self.found is None:
            return saves
        return math.inf if self._before["backend"] == "inductor" else 0.0

    def require(self, settings: Mapping[str, Any], *, epochs: int) -> None:
        """Note what a training depends on; raise a ValueError unless it is that of the checkpoint.

        Args:
            settings: all but the number of epochs.
            epochs: at least those that are over.
        """
        if self.checkpoint is None:
            return
        if self.found is not None and len(self.found["history"]) > epochs:
            done = len(self.found["history"])
            raise ValueError(f"Expected epochs >= {done}, which the checkpoint has; got {epochs}.")
        self._settings = comparable({**settings, "settings": self.checkpoint.settings})
        surroundings = {  # what the last digits depend on
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "instructions": torch.backends.cpu.get_cpu_capability(),
            "processes": self.share.count,
        }
        if self.found is not None:
            require_equal(self._before, self._settings, but=surroundings)
            for name, now in surroundings.items():
                if now != self._before.get(name, now):
                    warnings.warn(
                        f"This training began with {name} {self._before[name]} and goes on with {now}: its numbers "
                        f"can differ in their last digits from those of one that was never stopped.",
                        stacklevel=3,
                    )
        self._settings |= surroundings

    def take(self, course: Course) -> None:
        """Keep the state after an epoch, and save it if it is time."""
        if self.checkpoint is None:
            return
        if len(course.history) == 1:
            course.warn_of_python()
        self._latest = course.state()
        self._unsaved += 1
        waited = time.monotonic() - self._saved >= 60 * self.checkpoint.minutes
        if waited or self._unsaved >= (self.checkpoint.epochs or math.inf):
            self.save()

    def save(self) -> None:
        """Save the state after the last epoch, unless that is done already; warn where it cannot be written."""
        if self.checkpoint is None or self._latest is None:
            return
        try:
            write(Path(self.checkpoint.folder), self._latest, self._settings, count=self.checkpoint.count)
            self._latest = None
        except OSError as error:
            warnings.warn(
                f"There is no new checkpoint, and the one before stays: {error}", RuntimeWarning, stacklevel=3
            )
        self._saved, self._unsaved = time.monotonic(), 0

    def finish(self, course: Course) -> None:
        """Save the state of a training that is over, or remove what was saved."""
        if self.checkpoint is None:
            return
        if self.checkpoint.keep:
            self._latest = course.state()
            self.save()
        else:
            keep_newest(Path(self.checkpoint.folder), 0)


def described(objective: ELBO) -> dict[str, Any]:
    """What an objective is, and how its steps are run."""
    compiled = isinstance(objective, CompiledELBO)
    elbo = objective.elbo if compiled else objective
    plain = {name: value for name, value in vars(elbo).items() if isinstance(value, bool | int | float | str)}
    plain.pop("max_plate_nesting", None)  # which objectives find out for themselves
    return {
        "objective": type(elbo).__qualname__,
        "objective's": plain,
        "backend": objective.backend if compiled else "none",
        "backend's precision": objective.precision if compiled else "fp32",
    }


@contextlib.contextmanager
def saving(checkpoint: str | Path | Checkpoint | None, share: Share = ALONE) -> Iterator[Saver]:
    """What saves a training into a folder, made if it is not there, which no other process uses meanwhile.

    Of several processes that share a training, the first one alone does; the others hear from it what it has found.

    Raises:
        ValueError: what was saved there is damaged.
        BlockingIOError: another process trains with the same folder.
        OSError: it cannot be written.
    """
    if checkpoint is None or share.rank > 0:
        yield Saver(None, share)
        return
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = Checkpoint(checkpoint)
    folder = Path(checkpoint.folder)
    made = not folder.exists()
    with saying(folder):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / ".checkpoint", doing=f"training with the checkpoint in {folder}"):
            try:
                yield Saver(checkpoint, share)
            finally:
                with contextlib.suppress(OSError):
                    (folder / ".checkpoint.lock").unlink()
    finally:
        if made:
            with contextlib.suppress(OSError):  # something was saved
                folder.rmdir()
