"""Versions, machine, threads and date: what a number needs to be understood later."""

from __future__ import annotations

import datetime
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from ..version import __version__


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
