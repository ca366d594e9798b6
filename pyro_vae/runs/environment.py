"""Versions, machine, threads and date: what a number needs to be understood later."""

from __future__ import annotations

import datetime
import platform
from contextlib import AbstractContextManager
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..networks import count_parameters
from ..version import __version__
from .jobs import threads

SMALL = 200_000  # parameters


def threads_for(module: nn.Module | None) -> int:
    """One thread for a small model: its matrix products gain nothing from more, and lose much on a busy machine."""
    small = module is not None and count_parameters(module) < SMALL
    return 1 if small else torch.get_num_threads()


def few_threads(module: nn.Module) -> AbstractContextManager[None]:
    """Inside, as many threads as a model is worth."""
    return threads(threads_for(module))


def environment(device: torch.device, module: nn.Module | None = None) -> dict[str, Any]:
    """Versions, machine, threads and date: what a number needs to be understood later.

    Args:
        device: where it was computed.
        module: the model that ran under `few_threads`.
    """
    return {
        "versions": {"pyro-vae": __version__}
        | {name: metadata.version(name) for name in ("pyro-ppl", "torch", "numpy")}
        | {"python": platform.python_version()},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "threads": threads_for(module),
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
