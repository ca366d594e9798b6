"""Comparisons of 4 priors x 3 seeds, killed in the middle and given again.

python experiments/robustness/killed_comparisons.py

Once undisturbed; then in this process alone, by two jobs of loky, on Dask and on Ray: killed by SIGKILL, the process
that was started and no other, after four of the twelve runs are finished, and given again. The finished runs must not
be touched, and the weights and the table must be those of the undisturbed comparison. What the dead one had started
must end by itself: what is still there after some seconds is counted.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from pyro_vae.runs.environment import environment

PRIORS, SEEDS, FINISHED = ("StandardNormal", "GaussianMixture", "VampPrior", "LaplacePrior"), 3, 4
SMALL = ["--num-train", "300", "--latent-dim", "2", "--network.hidden", "[16]", "--kl-warmup", "1", "--epochs", "4"]
EVALUATED = ["--num-images", "20", "--num-samples", "50", "--estimator", "guide"]
SAVED = ["--checkpoint-minutes", "0", "--compile", "false"]
JOBS = {
    "one at a time": [],
    "two jobs of loky": ["--jobs", "2"],
    "two jobs on Dask": ["--jobs", "2", "--backend", "dask"],
    "two jobs on Ray": ["--jobs", "2", "--backend", "ray"],
}
LATER = 8.0  # seconds, within which what was started ends
PATIENCE = 600.0


def started(folder: Path, priors: list[str], seeds: int, jobs: list[str]) -> subprocess.Popen[bytes]:
    """The comparison, in a session of its own; what it says goes into a file."""
    words = ["compare", "--priors", *priors, "--seeds", str(seeds), *SMALL, *EVALUATED, *SAVED, *jobs]
    with folder.with_suffix(".log").open("ab") as said:
        command = [sys.executable, "-m", "pyro_vae", *words, "--out", str(folder)]
        environ = os.environ | {"OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, stdout=said, stderr=said, start_new_session=True, env=environ)


def finished(folder: Path) -> dict[str, tuple[int, str]]:
    """When each finished run was written, and the digest of its weights."""
    found = {}
    for about in folder.glob("runs/*/run.json"):
        weights = about.with_name("weights.safetensors").read_bytes()
        found[about.parent.name] = about.stat().st_mtime_ns, hashlib.sha256(weights).hexdigest()
    return found


def table(folder: Path) -> Any:
    """The numbers of the comparison, without seconds and places."""

    def without(value: Any) -> Any:
        if isinstance(value, dict):
            return {k: without(v) for k, v in value.items() if "seconds" not in k and k not in ("run", "runs")}
        return [without(each) for each in value] if isinstance(value, list) else value

    content = json.loads((folder / "comparison.json").read_text())
    return without({name: content[name] for name in ("log_marginal", "differences")})


def killed(folder: Path, least: int, *comparison: Any) -> dict[str, Any]:
    """Kill it once so many runs are finished, look what is left, and give it again."""
    process, begun = started(folder, *comparison), time.monotonic()
    while process.poll() is None and len(finished(folder)) < least and time.monotonic() - begun < PATIENCE:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(LATER)
    group = subprocess.run(["pgrep", "-g", str(process.pid)], capture_output=True, text=True, check=False)
    before = finished(folder)
    code = started(folder, *comparison).wait()
    after = finished(folder)
    return {
        "finished": len(before),
        "untouched": sum(after[name] == run for name, run in before.items()),
        "left": len(group.stdout.split()),
        "exit": code,
    }


def main() -> None:
    """Kill, say and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="two priors, one at a time, to see that it works")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "killed_comparisons.json")
    settings = parser.parse_args()
    priors, seeds = (list(PRIORS[:2]), 1) if settings.smoke else (list(PRIORS), SEEDS)
    line = shlex.join(["python", "experiments/robustness/killed_comparisons.py", *sys.argv[1:]])
    rows = []
    with tempfile.TemporaryDirectory() as work:
        whole = Path(work, "whole")
        if started(whole, priors, seeds, []).wait():
            raise SystemExit(whole.with_suffix(".log").read_text()[-2000:])
        for number, (method, jobs) in enumerate([*JOBS.items()][: 1 if settings.smoke else None]):
            folder = Path(work, str(number))
            row = killed(folder, 1 if settings.smoke else FINISHED, priors, seeds, jobs)
            if row["exit"]:
                raise SystemExit(folder.with_suffix(".log").read_text()[-2000:])
            weights = {name: digest for name, (_, digest) in finished(whole).items()}
            same = sum(weights.get(name) == digest for name, (_, digest) in finished(folder).items())
            row |= {"runs": len(weights), "same bits": same, "same table": table(folder) == table(whole)}
            rows.append({"method": method, **row})
            print(rows[-1], flush=True)
    result = environment(torch.device("cpu")) | {"command": line, "smoke": settings.smoke, "rows": rows}
    settings.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
