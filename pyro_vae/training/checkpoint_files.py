"""Checkpoints in a folder: two files each, which carry each other's digest, written whole and read with suspicion."""

from __future__ import annotations

import hashlib
import re
import warnings
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from ..arguments.memory import physical_memory
from ..disk.json_files import read_json, write_json
from ..disk.packing import packed, unpacked
from ..disk.reading import read_whole
from ..disk.tensor_files import tensors_of
from ..disk.writing import write_whole
from .course import FORM
from .fitted import Metrics

# Names of all files that are written here; those of others are left alone.
FILES = re.compile(r"checkpoint-(?P<epoch>\d{8})\.(json|safetensors)|\.checkpoint\.(lock|holder)")
TYPES = {"bytes": int, "tensors_sha256": str, "settings": dict, "state": dict}  # in the file .json


def saved_epochs(folder: Path) -> list[int]:
    """Numbers of the epochs that checkpoints in a folder are of, in order; nothing is read."""
    found = (FILES.fullmatch(path.name) for path in folder.glob("checkpoint-*.json"))
    return sorted(int(match["epoch"]) for match in found if match)


def read_newest(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, as "settings" and "state"; None if there is none at all.

    A damaged one is warned of, and the one before is used; that all are damaged is a ValueError.
    """
    damaged: Exception | None = None
    for epoch in reversed(saved_epochs(folder)):
        try:
            found = _read(folder, epoch)
        except (ValueError, FileNotFoundError) as error:
            damaged = damaged or error
            continue
        if damaged is not None:
            warnings.warn(f"{damaged} That after epoch {epoch} is used instead.", RuntimeWarning, stacklevel=2)
        return found
    if damaged is not None:
        raise ValueError(f"{damaged} There is no other one: remove {folder}/checkpoint-* to begin anew.") from damaged
    return None


def saved_history(folder: Path) -> list[Metrics]:
    """The history of the newest checkpoint in a folder that is whole; empty if there is none."""
    newest = read_newest(folder)
    return [] if newest is None else newest["state"]["history"]


def _read(folder: Path, epoch: int) -> dict[str, Any]:
    stem = _stem(folder, epoch)
    about = read_json(stem.with_suffix(".json"), kind="checkpoint", types=TYPES)
    path = stem.with_suffix(".safetensors")
    content = read_whole(path, limit=min(about["bytes"], physical_memory() // 2))
    if hashlib.sha256(content).hexdigest() != about["tensors_sha256"]:
        raise ValueError(f"Expected {path} as it was written with {stem.name}.json; it is damaged or was changed.")
    tensors = tensors_of(content, path)
    try:
        state = unpacked(about["state"], tensors)
    except (ValueError, KeyError, TypeError, RuntimeError, AttributeError) as error:  # places and forms of tensors
        raise ValueError(f"Expected {stem.name}.json to fit {path}; got an error: {error}.") from error
    if wrong := [name for name, kind in FORM.items() if not isinstance(state.get(name), kind)]:
        raise ValueError(f"Expected the state of a training in {stem}.json; got no {', '.join(wrong)}.")
    if len(state["history"]) != epoch or not all(isinstance(entry, dict) for entry in state["history"]):
        raise ValueError(f"Expected a history of {epoch} epochs in {stem}.json; got {len(state['history'])}.")
    return {"settings": about["settings"], "state": state}


def write(folder: Path, state: dict[str, Any], settings: dict[str, Any], *, count: int) -> None:
    """Save the state of a training, and the settings that it has; leaves so many of the newest."""
    stem, tensors = _stem(folder, len(state["history"])), dict[str, Tensor]()
    about = {"settings": settings, "state": packed(state, tensors)}
    content = safetensors.torch.save(tensors)
    write_whole(stem.with_suffix(".safetensors"), content)
    about |= {"bytes": len(content), "tensors_sha256": hashlib.sha256(content).hexdigest()}
    write_json(stem.with_suffix(".json"), about, kind="checkpoint")  # the last: with it the checkpoint is there
    keep_newest(folder, count)


def _stem(folder: Path, epoch: int) -> Path:
    return folder / f"checkpoint-{epoch:08d}"


def keep_newest(folder: Path, count: int) -> None:
    """Remove all checkpoints in a folder but so many of the newest."""
    kept = {_stem(folder, epoch) for epoch in saved_epochs(folder)[-count:]} if count else set()
    for path in sorted(folder.glob("checkpoint-*")):  # of each, .json before .safetensors
        if FILES.fullmatch(path.name) and path.with_suffix("") not in kept and path.is_file():
            path.unlink()
