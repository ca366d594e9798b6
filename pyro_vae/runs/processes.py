"""Processes that torchrun has started."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed


@contextmanager
def processes(device: torch.device) -> Iterator[tuple[int, int]]:
    """Rank and number of the processes that torchrun has started, or 0 and 1."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield 0, 1
        return
    if device.type == "cuda":  # else all would share the first GPU
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]) % torch.cuda.device_count())
    own_gpu = device.type == "cuda" and int(os.environ["LOCAL_WORLD_SIZE"]) <= torch.cuda.device_count()
    torch.distributed.init_process_group("nccl" if own_gpu else "gloo", timeout=timedelta(days=7))
    try:
        yield torch.distributed.get_rank(), count
    finally:
        torch.distributed.destroy_process_group()


def wait_for_others(count: int) -> None:
    """Go on when all processes have come here."""
    if count > 1:
        torch.distributed.barrier()
