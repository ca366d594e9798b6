"""Several processes of torch.distributed for a test: forked, so that nothing is imported again."""

import contextlib
import json
import os
import socket
import sys
import traceback
from datetime import timedelta

import torch
import torch.distributed


def started(folder, count, function):
    """Processes that call a function with their rank, as torchrun would start them: their numbers in the system.

    What a function returns, as JSON, comes into the file RANK.json of the folder; what it prints, into RANK.txt.
    """
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    return [process for rank in range(count) if (process := _forked(folder, rank, count, port, function))]


def _forked(folder, rank, count, port, function):
    sys.stdout.flush()
    if process := os.fork():
        return process
    status = 1
    try:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_PORT": port}
        os.environ |= {name: str(value) for name, value in names.items()} | {"MASTER_ADDR": "localhost"}
        torch.set_num_threads(1)
        with open(folder / f"{rank}.txt", "w", buffering=1) as said:
            sys.stdout = sys.stderr = said
            try:
                (folder / f"{rank}.json").write_text(json.dumps(function(rank)))
                status = 0
            except SystemExit as end:
                status = end.code or 0
            except BaseException:
                traceback.print_exc()
    finally:
        os._exit(status)


def ended(process):
    """The exit code of a process, or minus the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def together(folder, count, function):
    """What a function gives in each of so many processes of one group."""

    def in_group(rank):
        torch.distributed.init_process_group("gloo", timeout=timedelta(seconds=60))
        try:
            return function(rank)
        finally:
            with contextlib.suppress(RuntimeError):
                torch.distributed.destroy_process_group()

    codes = [ended(process) for process in started(folder, count, in_group)]
    assert codes == [0] * count, [(folder / f"{rank}.txt").read_text() for rank in range(count)]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(count)]
