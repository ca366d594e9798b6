"""Evaluations of a run on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor

from ..evidence import BidirectionalGap, LogMarginal
from ..evidence.files import read_json, write_json


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
