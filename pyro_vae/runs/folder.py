"""The folder of a run: made, recognized, filled."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import safetensors
import safetensors.torch
from torch import nn

from ..evidence.files import read_json

# What marks a folder as this library's, so that nothing else is ever removed by overwriting.
MARKS = ("settings.yaml", "comparison.json")


def new_folder(folder: str | Path, *, overwrite: bool = False) -> Path:
    """Make an empty folder for a run or a comparison.

    Raises:
        FileExistsError: it holds one already and overwrite is False, or it holds other files.
        PermissionError: it cannot be written.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        ours = folder.is_dir() and any((folder / mark).exists() for mark in MARKS)
        if not ours:
            raise FileExistsError(
                f"Expected an empty or new folder for the results; got {folder}. Choose another --out."
            )
        if not overwrite:
            raise FileExistsError(
                f"Expected a folder without results; {folder} holds some already. Add --overwrite to replace them, or "
                f"choose another --out."
            )
        shutil.rmtree(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise PermissionError(f"Expected a folder that can be written; got {folder}: {error.strerror}.") from error
    return folder


def require_run(folder: str | Path) -> Path:
    """The folder of a finished run.

    Raises:
        FileNotFoundError: it is not there, or holds no finished run.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"Expected a run folder made by pyro-vae train; there is no folder {folder}.")
    for name in ("settings.yaml", "run.json", "weights.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"Expected a run folder made by pyro-vae train; {folder} has no {name}. "
                f"Give the folder itself, or train the run (again)."
            )
    return folder


def is_finished(folder: Path) -> bool:
    """Whether a folder holds a run that was trained to its end."""
    try:
        return bool(read_json(require_run(folder) / "run.json")["finished"])
    except (FileNotFoundError, ValueError, KeyError):
        return False


def save_weights(folder: Path, module: nn.Module) -> None:
    """Parameters and buffers of a module, tensors that are shared inside it stored once."""
    safetensors.torch.save_model(module, str(folder / "weights.safetensors"))


def load_weights(folder: Path, module: nn.Module) -> None:
    """Put the weights of a run into a module of the same shape.

    Raises:
        ValueError: the file is damaged or belongs to another model.
    """
    try:
        safetensors.torch.load_model(module, folder / "weights.safetensors")
    except (RuntimeError, safetensors.SafetensorError) as error:
        raise ValueError(
            f"Expected weights of this model in {folder / 'weights.safetensors'}; got an error: {error}. "
            f"Train the run again."
        ) from error


def append_metrics(folder: Path, metrics: dict[str, float]) -> None:
    """Add one line to metrics.jsonl."""
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(metrics) + "\n")


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """All lines of metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
