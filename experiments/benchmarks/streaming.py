"""Memory of training on data larger than memory: python experiments/benchmarks/streaming.py

A VAE is trained on an array ten times as large as the memory that is allowed: as a memory map, read in batches, and,
for comparison, as a tensor. Each has a process of its own. The memory is what the process needs beyond what it had
before the training: its anonymous memory (RssAnon of /proc/self/status), looked at after each step. Pages of the file
that the system keeps while it has room for them are not among it. Losses of the two are the same.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pyro_vae import MLP, VAE, Gaussian, GaussianEncoder, StandardNormal, fit
from pyro_vae.runs.environment import environment

NUM_VALUES, BATCH_SIZE, EPOCHS = 1024, 256, 2
ALLOWED, TIMES = 128, 10  # MiB, and how many times as much data
METHODS = {"pyro_vae, memory map": "r", "pyro_vae, in memory": None}
MEBIBYTE = 1 << 20


def write_array(path: Path, mebibytes: int) -> None:
    """Standard normal numbers, float32, (N, 1024), written piece by piece."""
    num_data, random = mebibytes * MEBIBYTE // (4 * NUM_VALUES), np.random.default_rng(0)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(num_data, NUM_VALUES))
    for start in range(0, num_data, 1024):
        piece = array[start : start + 1024]
        piece[:] = random.normal(size=piece.shape)
    array.flush()


def resident() -> float:
    """Anonymous memory of this process in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1024


def measure(path: Path, mode: Any, epochs: int) -> dict[str, Any]:
    """Train in this process: MiB at the highest, seconds and loss of each epoch."""
    torch.manual_seed(0)
    mlp = functools.partial(MLP, hidden=(64,))
    px = Gaussian((NUM_VALUES,))
    vae = VAE(StandardNormal(8), GaussianEncoder((NUM_VALUES,), 8, network=mlp), mlp(8, px.feature_shape), px)
    fit(vae.model, vae.guide, torch.zeros(8, NUM_VALUES), epochs=1, progress=False, device="cpu")  # what all need
    before, highest = resident(), 0.0

    def look(step: int, metrics: dict[str, float]) -> None:
        nonlocal highest
        highest = max(highest, resident())

    started = time.perf_counter()
    result = fit(
        vae.model, vae.guide, np.load(path, mmap_mode=mode), epochs=epochs, batch_size=BATCH_SIZE, compile=False,
        progress=False, device="cpu", on_step=look,
    )  # fmt: skip
    return {
        "mebibytes": round(highest - before, 1),
        "seconds": [entry["seconds"] for entry in result.history],
        "losses": [entry["loss"] for entry in result.history],
        "total_seconds": time.perf_counter() - started,
    }


def rows(settings: argparse.Namespace) -> list[dict[str, Any]]:
    """Each method in a process of its own."""
    allowed, epochs = (2, 1) if settings.smoke else (ALLOWED, EPOCHS)
    found = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.npy"
        write_array(path, allowed * TIMES)
        for method in list(METHODS)[: 1 if settings.smoke else None]:  # each takes seconds to start
            command = [sys.executable, __file__, "--measure", method, str(path), str(epochs)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append({"method": method, "allowed": allowed, "data": allowed * TIMES} | json.loads(done.stdout))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    results = Path(__file__).parents[1] / "results"
    parser.add_argument("--out", type=Path, default=results / "streaming.json")
    parser.add_argument("--smoke", action="store_true", help="see that it works, in seconds; the numbers mean nothing")
    parser.add_argument("--measure", nargs=3, metavar=("METHOD", "FILE", "EPOCHS"), help=argparse.SUPPRESS)
    settings = parser.parse_args()
    if settings.measure:
        method, path, epochs = settings.measure
        print(json.dumps(measure(Path(path), METHODS[method], int(epochs))))
        return
    command = shlex.join(["python", "experiments/benchmarks/streaming.py", *sys.argv[1:]])
    result = environment(torch.device("cpu")) | {"command": command, "smoke": settings.smoke, "rows": rows(settings)}
    settings.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["rows"], indent=1))
    streamed = result["rows"][0]
    if streamed["mebibytes"] > streamed["allowed"] and not settings.smoke:
        raise SystemExit(f"Expected at most {streamed['allowed']} MiB; got {streamed['mebibytes']}.")


if __name__ == "__main__":
    main()
