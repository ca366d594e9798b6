"""A run on disk: settings, weights, metrics and evaluation, in one folder.

====================  ====================================================================================
settings.yaml         every setting; ``pyro-vae train --config settings.yaml`` does the run again
run.json              what the run saw: data protocol, event shape, versions, device, date
weights.safetensors   the best state
metrics.jsonl         one line for each epoch
evaluation.json       log p(x): means, errors, protocol (after ``pyro-vae evaluate``)
evaluation.npz        log p(x), standard error, ESS and k-hat of each image
*.png                 figures
====================  ====================================================================================
"""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
import shutil
from importlib import metadata
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from .evidence import BidirectionalGap, LogMarginal
from .evidence.result import null_for_nan
from .version import __version__

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


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write readable JSON, whole or not at all; numbers that are not finite become null."""
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(null_for_nan(content), indent=2, allow_nan=False) + "\n")
    temporary.replace(path)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"Expected JSON in {path}; got an error: {error}. Make it again.") from error
    return content


def append_metrics(folder: Path, metrics: dict[str, float]) -> None:
    """Add one line to metrics.jsonl."""
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(metrics) + "\n")


def read_metrics(folder: Path) -> list[dict[str, float]]:
    """All lines of metrics.jsonl."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def save_evaluation(
    folder: Path,
    result: LogMarginal | BidirectionalGap,
    *,
    images: Tensor,
    about: dict[str, Any],
    name: str = "evaluation",
) -> None:
    """Save log p(x) of the images, with what it is about (protocol, command, ...)."""
    result.save(folder / name)
    write_json(folder / f"{name}.json", {**result.to_json(), "images_sha256": digest(images), **about})


def digest(images: Tensor) -> str:
    """SHA-256 of the images' values."""
    return hashlib.sha256(images.cpu().contiguous().numpy().tobytes()).hexdigest()


def load_evaluation(folder: Path) -> tuple[LogMarginal, dict[str, Any]]:
    """The result that `save_evaluation` saved, and what it is about.

    Raises:
        FileNotFoundError: the run has not been evaluated.
        ValueError: a file is damaged.
    """
    if not (folder / "evaluation.json").is_file():
        raise FileNotFoundError(
            f"Expected an evaluated run; {folder} has no evaluation.json. Run: pyro-vae evaluate {folder}"
        )
    about = read_json(folder / "evaluation.json")
    try:
        return LogMarginal.load(folder / "evaluation"), about
    except FileNotFoundError as error:
        raise ValueError(f"Expected evaluation.npz in {folder}. Run pyro-vae evaluate again.") from error


def environment(device: torch.device) -> dict[str, Any]:
    """Versions, machine, threads and date: what a number needs to be understood later."""
    return {
        "versions": {"pyro-vae": __version__}
        | {name: metadata.version(name) for name in ("pyro-ppl", "torch", "numpy")}
        | {"python": platform.python_version()},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": torch.get_num_threads(),
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def processor() -> str:
    """Name of the CPU, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
