"""Trainings of the command line that are killed at random moments and gone on with: a process of its own, one thread.

What is imported once here is there in every process forked from it, which makes a kill cost a second and not ten.
"""

import contextlib
import io
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import matplotlib.figure  # noqa: F401
import sklearn.datasets  # noqa: F401
import torch

from pyro_vae.commands import train_run
from pyro_vae.commands.main import main

SETTINGS = ["--epochs", "12", "--latent-dim", "2", "--network", "MLP", "--network.hidden", "[8]", "--batch-size", "300"]
OPTIONS = [*SETTINGS, "--kl-warmup", "5", "--learning-rate-decay", "cosine", "--checkpoint-minutes", "0"]


def started(folder):
    """A process that trains, or goes on with a training."""
    if process := os.fork():
        return process
    sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    train_run.save_figure = lambda *_: None
    torch.set_num_threads(1)
    begun = (folder / "unfinished" / "settings.yaml").exists() or (folder / "run.json").exists()
    try:
        main(["train", *(["--resume", str(folder)] if begun else [*OPTIONS, "--out", str(folder)])])
    except BaseException as error:
        (folder.parent / "error").write_text(repr(error))
        os._exit(1)
    os._exit(0)


def content(folder):
    """Weights and metrics of a run, seconds aside."""
    entries = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    metrics = [{key: value for key, value in entry.items() if "seconds" not in key} for entry in entries]
    return (folder / "weights.safetensors").read_bytes(), metrics


def kill(work, count):
    """Kill trainings so many times; returns how many of them came to their ends, all to the same bits."""
    # A first training brings what else is imported, such as torch's compiler, which takes seconds. The backward pass
    # before it leaves processes that are forked later able to run one, as in conftest.py.
    torch.ones(1, requires_grad=True).sum().backward()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        main(["train", *OPTIONS, "--out", str(work / "first")])
    begun = time.monotonic()
    assert os.waitpid(started(work / "undisturbed"), 0)[1] == 0, (work / "error").read_text()
    seconds, killed, finished = time.monotonic() - begun, 0, list[Path]()
    expected = content(work / "undisturbed")
    whole = False
    while killed < count or not whole:
        folder = work / f"run{len(finished)}"
        process = started(folder)
        if killed < count:
            time.sleep(random.uniform(0, 0.8 * seconds))
            os.kill(process, signal.SIGKILL)
        status = os.waitpid(process, 0)[1]
        killed += os.WIFSIGNALED(status)
        if whole := os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0, (work / "error").read_text()
            assert content(folder) == expected
            assert not [*folder.rglob("checkpoint-*")]
            finished.append(folder)
    return len(finished)


if __name__ == "__main__":
    random.seed(int(sys.argv[3]))
    print(kill(Path(sys.argv[1]), int(sys.argv[2])))
