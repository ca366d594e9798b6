"""What went wrong with a graph, in words, and how the plain path takes over."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyro
import torch
from torch import nn

from .torch_private import cause


class OutsideSupport(Exception):
    """An observed value lies outside the support of its site."""


def first_line(error: Exception) -> str:
    """Type of an error and the line that says most, without the full stop."""
    error = cause(error)
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    said = next((line for line in lines if "error: " in line), lines[0])  # the C++ compiler's own words, if it spoke
    return f"{type(error).__name__}: {said}".rstrip(".: ")


def reason(error: Exception) -> str:
    """What stopped the recording, and where: in the last line of Python that is not torch's or the recorder's."""
    what = first_line(error)
    if "get value out of a tracing tensor" in what:
        what = "a value is read out of a tensor, to decide what is computed"
    inside = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)[1:] if not frame.filename.startswith(inside)]
    where = f" ({Path(frames[-1].filename).name}:{frames[-1].lineno}, `{frames[-1].line}`)" if frames else ""
    return what + where


@contextmanager
def undone_on_failure(modules: dict[nn.Module, None], *, runs_python: bool) -> Iterator[None]:
    """Put buffers and random number generators back, Python's and NumPy's too, so that the plain path can take over."""
    buffers = [(buffer, buffer.clone()) for module in modules for buffer in module.buffers(recurse=False)]
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    cpu = pyro.util.get_rng_state() if runs_python else {"torch": torch.get_rng_state()}
    try:
        yield
    except Exception:
        if runs_python:
            pyro.util.set_rng_state(cpu)
        torch.set_rng_state(cpu["torch"])
        torch.cuda.set_rng_state_all(cuda)
        with torch.no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        raise
