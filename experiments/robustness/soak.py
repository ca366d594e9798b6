"""Trainings, comparisons and evaluations that are killed at random moments: python experiments/robustness/soak.py

Each kind of command is given once undisturbed, then again and again: it is killed by SIGKILL at a moment drawn evenly
from the time that it takes, and gone on with, until it comes to its end, and the next one begins. Every one must end
with the weights, the metrics and log p(x) of the undisturbed one, to the last bit, seconds aside. How many kills came
after the process had written something is counted: a kill before that repeats the one before.

What is imported once is there in every process forked from it, which makes a kill cost seconds less. The kinds take
turns, a few kills each, and the result is written after every turn: the command goes on where it was stopped, and
--minutes lets it take several portions.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import shlex
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib.pyplot  # noqa: F401 (imported once, here)
import numpy as np
import sklearn.datasets  # noqa: F401
import torch

from pyro_vae.commands.main import main as pyro_vae
from pyro_vae.runs.environment import environment

SMALL = ["--latent-dim", "4", "--network", "MLP", "--network.hidden", "[32]", "--kl-warmup", "5"]
SAVED = ["--checkpoint-minutes", "0", "--learning-rate-decay", "cosine", "--patience", "20"]
COMPARE = ["--priors", "StandardNormal", "VampPrior", "--seeds", "1", "--num-images", "20", "--estimator", "guide"]
TURN = 10  # kills
# Command, its options and how many times it is killed: the shorter, the more often. Evaluations are of a run that is
# trained before, and so long that results of a part of the data are written on the way; what is drawn from the guide is
# compiled where it is most.
KINDS = {
    "train, plain": ("train", [*SMALL, *SAVED, "--epochs", "30", "--compile", "false"], 60),
    "train, compiled": ("train", [*SMALL, *SAVED, "--epochs", "30", "--compile", "true"], 40),
    "compare, plain": ("compare", [*SMALL, *SAVED, "--epochs", "6", "--compile", "false", *COMPARE], 30),
    "compare, compiled": ("compare", [*SMALL, *SAVED, "--epochs", "6", "--compile", "true", *COMPARE], 20),
    "evaluate, escalated": ("evaluate", ["--num-samples", "1000"], 20),
    "evaluate, plain": ("evaluate", ["--estimator", "guide", "--num-samples", "3000"], 20),
    "evaluate, compiled": ("evaluate", ["--estimator", "guide", "--num-samples", "20500"], 10),
}


def command(kind: str, folder: Path) -> list[str]:
    """The command, or how to go on with it."""
    name, options, _ = KINDS[kind]
    begun = any((folder / place).exists() for place in ("unfinished/settings.yaml", "run.json"))
    if name == "train" and begun:
        words = ["--resume", str(folder)]
    else:
        words = [*options, *([str(folder)] if name == "evaluate" else ["--out", str(folder)])]
    return [name, *words]


def started(words: list[str], said: Path) -> int:
    """A process that runs a command, as one thread; what it says goes into a file."""
    if process := os.fork():
        return process
    os.setpgid(0, 0)  # a group of its own, so that compilers die with it
    with said.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        code = 1
        try:
            pyro_vae(words)
            code = 0
        except SystemExit as left:
            code = int(left.code or 0)
        finally:
            file.flush()
            os._exit(code)


def whole(words: list[str], said: Path) -> None:
    """Run a command to its end."""
    if os.waitpid(started(words, said), 0)[1]:
        raise SystemExit(f"{shlex.join(words)} failed: {said.read_text()[-500:]}")


def written(folder: Path) -> set[tuple[str, int]]:
    """Files that are whole, and when they were written; locks aside."""
    paths = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {(str(path), path.stat().st_mtime_ns) for path in paths}


def content(folder: Path) -> dict[str, Any]:
    """Digest of the weights, metrics without seconds and log p(x) of each run in a folder."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("metrics.jsonl")):
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        metrics = [{name: value for name, value in entry.items() if "seconds" not in name} for entry in entries]
        weights = hashlib.sha256((path.parent / "weights.safetensors").read_bytes()).hexdigest()
        found[str(path.parent.relative_to(folder))] = weights, metrics
    for path in sorted(folder.rglob("evaluation_*.npz")):
        with np.load(path) as arrays:
            found[str(path.relative_to(folder))] = {name: arrays[name].tobytes() for name in sorted(arrays)}
    return found


def undisturbed(kind: str, work: Path) -> tuple[float, dict[str, Any]]:
    """Seconds that a command takes, and what comes of it; evaluations are of a run that is trained before."""
    if KINDS[kind][0] == "evaluate":
        whole(["train", *SMALL, "--epochs", "10", "--out", str(work / "trained")], work / "said")
    whole(command(kind, begun(work)), work / "said")  # fills the caches of the compiler, as a user's have been
    folder, started_at = begun(work), time.monotonic()
    whole(command(kind, folder), work / "said")
    return time.monotonic() - started_at, content(folder)


def begun(work: Path) -> Path:
    """A new folder to begin in, for an evaluation with the run."""
    folder = Path(tempfile.mkdtemp(dir=work)) / "run"
    return shutil.copytree(work / "trained", folder) if (work / "trained").exists() else folder


def soak(kind: str, kills: int, work: Path, seconds: float, expected: dict[str, Any]) -> dict[str, Any]:
    """Kill one kind of command so often."""
    killed = advanced = finished = same = 0
    said, failures = work / "said", list[str]()
    folder, ended = begun(work), False
    while killed < kills or not ended:
        before = written(folder)
        process = started(command(kind, folder), said)
        if killed < kills:
            time.sleep(random.uniform(0, seconds))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)
        status = os.waitpid(process, 0)[1]
        killed += os.WIFSIGNALED(status)
        advanced += os.WIFSIGNALED(status) and written(folder) != before
        ended = os.WIFEXITED(status)
        if ended:
            finished += 1
            same += os.WEXITSTATUS(status) == 0 and content(folder) == expected
            failures += [said.read_text().strip()[-500:]] if os.WEXITSTATUS(status) else []
            folder = begun(work) if killed < kills else folder
    counts = {"kills": killed, "after writing": advanced, "ended": finished, "same bits": same}
    return {"method": kind, **counts, "seconds": round(seconds, 1), "failures": failures}


def joined(before: dict[str, Any] | None, now: dict[str, Any]) -> dict[str, Any]:
    """What two turns of a kind have found; the seconds are those of the second."""
    counted = ("kills", "after writing", "ended", "same bits", "failures")
    return now if before is None else now | {name: before[name] + now[name] for name in counted}


def main() -> None:
    """Kill, say and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no further turn after so many")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--smoke", action="store_true", help="one kill of the first kind, to see that it works")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "soak.json")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1)])  # brings torch's compiler, which takes seconds to import
    for name in sorted({name for name, *_ in KINDS.values()}):  # brings what the command itself imports
        with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
            pyro_vae([name, "--help"])
    if settings.smoke:
        KINDS["train, plain"] = ("train", [*SMALL, *SAVED, "--epochs", "2", "--compile", "false"], 1)
    began, first = time.monotonic(), dict[str, tuple[float, dict[str, Any]]]()
    found = json.loads(settings.out.read_text())["rows"] if settings.out.exists() else []
    rows = {row["method"]: row for row in found}
    kinds = list(KINDS)[: 1 if settings.smoke else None]
    line = shlex.join(["python", "experiments/robustness/soak.py", *sys.argv[1:]])
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() - began < 60 * settings.minutes:
            killed = {kind: rows[kind]["kills"] if kind in rows else 0 for kind in kinds}
            left = {kind: KINDS[kind][2] - count for kind, count in killed.items() if count < KINDS[kind][2]}
            if not left:
                break
            kind = min(left, key=killed.__getitem__)
            work = Path(folder, kind)
            if kind not in first:
                work.mkdir()
                first[kind] = undisturbed(kind, work)
            random.seed(f"{settings.seed} {kind} {left[kind]}")
            rows[kind] = joined(rows.get(kind), soak(kind, min(left[kind], TURN), work, *first[kind]))
            print(rows[kind], flush=True)
            result = environment(torch.device("cpu")) | {"command": line, "smoke": settings.smoke}
            result |= {"rows": [rows[kind] for kind in KINDS if kind in rows]}
            settings.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
