"""Trainings and comparisons that are killed at random moments: python experiments/soak.py

Each kind of command is given once undisturbed, then again and again: it is killed by SIGKILL at a moment drawn evenly
from the time that it takes, and gone on with, until it comes to its end, and the next one begins. Every one must end
with the weights and the metrics of the undisturbed one, to the last bit, seconds aside.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from pyro_vae.runs.environment import environment

SMALL = ["--latent-dim", "4", "--network", "MLP", "--network.hidden", "[32]", "--kl-warmup", "5"]
SAVED = ["--checkpoint-minutes", "0", "--learning-rate-decay", "cosine", "--patience", "20"]
COMPARE = ["--priors", "StandardNormal", "VampPrior", "--seeds", "1", "--num-samples", "20", "--num-images", "20"]
KINDS = {
    "train, plain": ("train", ["--epochs", "30", "--compile", "false"]),
    "train, compiled": ("train", ["--epochs", "30", "--compile", "true"]),
    "compare, plain": ("compare", ["--epochs", "10", "--compile", "false", *COMPARE]),
    "compare, compiled": ("compare", ["--epochs", "10", "--compile", "true", *COMPARE]),
}


def command(kind: str, folder: Path) -> list[str]:
    """The command, or how to go on with it."""
    name, options = KINDS[kind]
    begun = any((folder / place).exists() for place in ("unfinished/settings.yaml", "run.json"))
    words = ["--resume", str(folder)] if name == "train" and begun else [*SMALL, *SAVED, *options, "--out", str(folder)]
    return [sys.executable, "-m", "pyro_vae", name, *words]


def content(folder: Path) -> dict[str, Any]:
    """Digest of the weights, and metrics without seconds, of each run in a folder."""
    found = {}
    for path in sorted(folder.rglob("metrics.jsonl")):
        entries = [json.loads(line) for line in path.read_text().splitlines()]
        metrics = [{name: value for name, value in entry.items() if "seconds" not in name} for entry in entries]
        weights = hashlib.sha256((path.parent / "weights.safetensors").read_bytes()).hexdigest()
        found[str(path.parent.relative_to(folder))] = weights, metrics
    return found


def soak(kind: str, kills: int, work: Path) -> dict[str, Any]:
    """Kill one kind of command so often."""
    started = time.monotonic()
    subprocess.run(command(kind, work / "undisturbed"), check=True, capture_output=True)
    seconds, expected = time.monotonic() - started, content(work / "undisturbed")
    killed = finished = same = 0
    failures: list[str] = []
    whole = False
    while killed < kills or not whole:
        folder = work / f"{finished}"
        process = subprocess.Popen(command(kind, folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        wait = random.uniform(0, seconds) if killed < kills else None
        try:
            _, said = process.communicate(timeout=wait)
            whole = True
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed, whole = killed + 1, False
        if whole:
            finished += 1
            same += process.returncode == 0 and content(folder) == expected
            failures += [said.strip()] if process.returncode else []
    return {"method": kind, "kills": killed, "ended": finished, "same bits": same, "failures": failures}


def main() -> None:
    """Kill, say and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50, help="of each kind of command")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--smoke", action="store_true", help="one kill of the first kind, to see that it works")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "soak.json")
    settings = parser.parse_args()
    random.seed(settings.seed)
    rows = []
    for kind in list(KINDS)[: 1 if settings.smoke else None]:
        with tempfile.TemporaryDirectory() as work:
            rows.append(soak(kind, 1 if settings.smoke else settings.kills, Path(work)))
        print(rows[-1], flush=True)
    line = shlex.join(["python", "experiments/soak.py", *sys.argv[1:]])
    result = environment(torch.device("cpu")) | {"command": line, "smoke": settings.smoke, "rows": rows}
    settings.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
