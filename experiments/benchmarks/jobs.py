"""Time of a comparison with several jobs, and of a training in several processes: python experiments/benchmarks/jobs.py

The comparison is `pyro-vae compare` as it is, four priors with three seeds each, from its start to its tables: with one
job and with two, in turns, so that other work on the machine meets both. The training is of a small and of a large
network, with one process and with two that torchrun starts, each with its share of the threads; what is noted of it is
the median of its epochs without the first.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from pyro_vae.runs.environment import environment

PROGRAM = [sys.executable, "-m"]
NETWORKS = {
    "small network": ["--network.hidden", "[128,128]", "--batch-size", "128"],
    "large network": ["--network.hidden", "[2048,2048]", "--batch-size", "600"],
}
TRAIN = ["train", "--network", "MLP", "--compile", "false", "--kl-warmup", "0"]


def seconds_of(words: list[str], *, threads: int | None) -> float:
    """Run a command to its end, as one process may use so many threads."""
    around = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    around |= {} if threads is None else {"OMP_NUM_THREADS": str(threads)}
    started = time.perf_counter()
    done = subprocess.run([*PROGRAM, *words], env=around, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{shlex.join(words)} failed: {done.stderr}")
    return time.perf_counter() - started


def compared(jobs: int, folder: Path) -> float:
    """Seconds of a whole comparison."""
    return seconds_of(["pyro_vae", "compare", "--jobs", str(jobs), "--out", str(folder)], threads=None)


def seconds_per_epoch(processes: int, options: list[str], folder: Path, *, threads: int) -> float:
    """Of a training, without its first epoch."""
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    words = [*(launcher if processes > 1 else []), "pyro_vae", *TRAIN, *options, "--out", str(folder)]
    seconds_of(words, threads=threads)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return statistics.median(json.loads(line)["seconds"] for line in lines[1:])


def row(method: str, what: str, seconds: list[float]) -> dict[str, Any]:
    """What was measured, shown as it comes."""
    print(f"{method:<50} {what:<22} {', '.join(f'{each:.3f}' for each in seconds)} s", flush=True)
    return {"method": method, "what": what, "seconds": [round(each, 4) for each in seconds]}


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="does it work? two processes, tiny")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "jobs.json")
    settings = parser.parse_args()
    jobs_of, processes_of = (1, 2), ((1, 1), (1, 2), (2, 1))
    networks, epochs = NETWORKS, ["--epochs", "6"]
    if settings.smoke:
        jobs_of, processes_of = (), ((2, 1),)  # type: ignore[assignment]
        networks, epochs = {"small network": ["--network.hidden", "[8]"]}, ["--epochs", "2"]
    load = os.getloadavg()[0]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        found: dict[int, list[float]] = {jobs: [] for jobs in jobs_of}
        for turn in range(settings.repetitions):
            for jobs in jobs_of if turn % 2 == 0 else jobs_of[::-1]:
                found[jobs].append(compared(jobs, work / f"{jobs} jobs {turn}"))
        rows += [row(f"pyro_vae compare --jobs {jobs}", "whole command", found[jobs]) for jobs in jobs_of]
        for name, options in networks.items():
            for processes, threads in processes_of:
                place = work / f"{name} {processes} {threads}"
                seconds = seconds_per_epoch(processes, [*options, *epochs], place, threads=threads)
                method = f"pyro_vae train, processes: {processes}, threads of each: {threads}"
                rows.append(row(method, name, [seconds]))
    line = shlex.join(["python", "experiments/benchmarks/jobs.py", *sys.argv[1:]])
    result = environment(torch.device("cpu")) | {"cores": os.cpu_count(), "load_before": round(load, 2)}
    result |= {"command": line, "smoke": settings.smoke, "rows": rows}
    settings.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
