"""Does the ranking of priors on static MNIST survive a better estimate of log p(x)?

python experiments/evidence/priors_on_mnist.py --root data --device cuda

The VAE of the published protocol (gated 300-300, 40 latents, batch 100, Adam 5e-4, KL warm-up over 100 epochs, early
stopping after 50 epochs without a better validation ELBO) is trained with each prior, by `pyro-vae train`, all at once
and for at most --train-seconds; a run that is stopped then keeps its best state, and the result says so. Each run is
evaluated twice on the same test images in one random order: by 5,000 samples from the guide, the protocol of the field,
and by the default estimate with 1,000. All estimates run at once, for at most --evaluate-seconds; compared are the
images that all of them have come to. A run that was stopped long before the end of its warm-up is left out.

What is finished is not repeated: a second call goes on from the folder --runs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from escalation_on_mnist import mnist_vae
from matplotlib.figure import Figure
from setting import parsed, parser, save

from pyro_vae import HeavyTail, LogMarginal, compare, data, load, log_marginal

PRIORS = {
    "StandardNormal": [],
    "GaussianMixture": ["--prior.num_components", "500"],
    "VampPrior": ["--prior.num_components", "500"],
    "CouplingFlow": [],
    "AutoregressiveFlow": [],
    "LARS": [],
}
PROTOCOL = ["--epochs", "400", "--batch-size", "100", "--learning-rate", "5e-4", "--kl-warmup", "100"]
PROTOCOL += ["--patience", "50", "--latent-dim", "40", "--network", "GatedMLP", "--network.hidden", "[300,300]"]
ESTIMATES = {
    "guide": {"estimator": "guide", "num_samples": 5000, "memory_budget": "2GiB"},
    "auto": {"estimator": "auto", "num_samples": 1000, "memory_budget": "2GiB"},
}
STEPS = ("train", "evaluate", "compare")
LEAST_KL_WEIGHT = 0.9  # at the best epoch: below, a run is of another objective than the others
GIVEN = "StandardNormal, given"  # a run from elsewhere, trained until no epoch was better
SAVE_EVERY, GRACE = 5.0, 30.0  # seconds: of estimates on their way; to end in after a signal


def in_parallel(commands: dict[str, list[str]], *, logs: Path, seconds: float, stop: signal.Signals) -> None:
    """Run commands at once, each with a log, and stop those that run too long."""
    logs.mkdir(parents=True, exist_ok=True)
    started, running = time.perf_counter(), {}
    for name, command in commands.items():
        with open(logs / f"{name}.log", "w") as log:
            settings = {"stdout": log, "stderr": subprocess.STDOUT, "env": one_thread(), "preexec_fn": heed_interrupts}
            running[name] = subprocess.Popen(command, **settings)
    stopped = False
    while running:
        time.sleep(0.2)
        elapsed = time.perf_counter() - started
        for name in [name for name, process in running.items() if process.poll() is not None]:
            if code := running.pop(name).returncode:
                print(f"{name} ended with {code} after {elapsed:.0f} s; see {logs / name}.log", flush=True)
        if elapsed > seconds and not stopped:
            stopped = True
            for process in running.values():
                process.send_signal(stop)
        if elapsed > seconds + GRACE:
            for process in running.values():
                process.kill()


def heed_interrupts() -> None:
    """A process that was started in the background ignores interrupts, and its children do."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def one_thread() -> dict[str, str]:
    """The environment of a process beside others."""
    return {"OMP_NUM_THREADS": "1"} | dict(os.environ)


def train(chosen: argparse.Namespace) -> None:
    """Train those runs that are not there."""
    commands = {}
    for name, options in PRIORS.items():
        if (chosen.runs / name / "run.json").exists():
            continue
        command = [sys.executable, "-m", "pyro_vae", "train", *PROTOCOL, "--prior", name, *options]
        command += ["--data", "static_mnist", "--root", chosen.root]
        if chosen.smoke:
            command = [sys.executable, "-m", "pyro_vae", "train", "--prior", name, "--data", "digits", "--epochs", "1"]
            command += ["--latent-dim", "3"]
        commands[name] = [*command, "--device", chosen.device, "--out", str(chosen.runs / name)]
    if chosen.smoke:
        commands = {name: commands[name] for name in ("StandardNormal", "VampPrior") if name in commands}
    in_parallel(commands, logs=chosen.runs / "logs", seconds=chosen.train_seconds, stop=signal.SIGINT)


def images(chosen: argparse.Namespace) -> tuple[torch.Tensor, str]:
    """The test images in one random order, and their protocol."""
    dataset = data.load("digits", binarization="dynamic") if chosen.smoke else data.load("static_mnist", chosen.root)
    count = len(dataset.test)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))[: 6 if chosen.smoke else count]
    return dataset.test[order], dataset.protocol


def estimate(chosen: argparse.Namespace, name: str, kind: str, *, stoppable: bool = False) -> None:
    """One estimate of one run, saved as it grows; goes on where it was stopped, by SIGTERM if it is stoppable."""
    out, device = target(chosen, name, kind), torch.device(chosen.device)
    x = images(chosen)[0].to(device)
    vae = mnist_vae(chosen.weights, chosen.root)[0] if name == GIVEN else load(chosen.runs / name, device=device).module
    vae.to(device)
    done, before = [], 0.0
    if out.with_suffix(".json").exists():
        done, before = [LogMarginal.load(out)], json.loads(out.with_suffix(".json").read_text())["seconds"]
    left = list(range(sum(map(len, done)), len(x)))
    started = saved = time.perf_counter()
    saving = stopped = False

    def stop(*_: Any) -> None:
        nonlocal stopped
        stopped = True
        if not saving:  # else when the file is whole
            raise SystemExit

    def keep(numbers: list[int], result: LogMarginal) -> None:
        nonlocal saved, saving
        done.append(result)
        now = time.perf_counter()
        if now - saved > SAVE_EVERY or numbers[-1] == len(x) - 1:
            saving, joined = True, LogMarginal.join(done)
            joined.save(out, {"seconds": before + now - started})
            saved, saving = now, False
            print(f"{len(joined):,} images after {before + now - started:.1f} s: {joined}", flush=True)
        if stopped:
            raise SystemExit

    if stoppable:
        signal.signal(signal.SIGTERM, stop)
    warnings.simplefilter("ignore", HeavyTail)  # what guides have is the point
    if left:
        log_marginal(vae.model, vae.guide, x, only=left, on_result=keep, **settings_of(chosen, kind))


def settings_of(chosen: argparse.Namespace, kind: str) -> dict[str, Any]:
    """The settings of an estimate."""
    return ESTIMATES[kind] | ({"num_samples": 20} if chosen.smoke else {})


def target(chosen: argparse.Namespace, name: str, kind: str) -> Path:
    """Where an estimate is kept, without its suffix."""
    return chosen.runs / "estimates" / f"{name.replace(', ', '-')}-{kind}"


def evaluate(chosen: argparse.Namespace, names: list[str]) -> None:
    """All estimates that are not finished, at once."""
    (chosen.runs / "estimates").mkdir(exist_ok=True)
    wanted = [(name, kind) for kind in ESTIMATES for name in names]
    if chosen.smoke:
        for name, kind in wanted:
            estimate(chosen, name, kind)
        return
    again = [sys.executable, __file__, "--root", chosen.root, "--runs", str(chosen.runs), "--device", chosen.device]
    again += ["--weights", str(chosen.weights)] if chosen.weights else []
    commands = {f"{name}-{kind}": [*again, "--estimate", name, kind] for name, kind in wanted}
    in_parallel(commands, logs=chosen.runs / "logs", seconds=chosen.evaluate_seconds, stop=signal.SIGTERM)


def measured(value: Any) -> dict[str, float]:
    """A mean with its errors."""
    names = "value", "standard_error", "monte_carlo_error", "low", "high"
    return {name: getattr(value, name) for name in names}


def trained(folder: Path) -> dict[str, Any]:
    """How far a run has come; the given one is in no folder."""
    if not (folder / "metrics.jsonl").exists():
        return {}
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    about = json.loads((folder / "run.json").read_text())
    # Before the end of the warm-up the best epoch is chosen by the ELBO, too.
    best = max(history, key=lambda metrics: metrics["validation_elbo"])
    return {
        "epochs": len(history),
        "finished": about["finished"],
        "best_epoch": best["epoch"],
        "kl_weight_at_best": best["kl_weight"],
        "validation_elbo": best["validation_elbo"],
        "training_seconds": sum(metrics["seconds"] for metrics in history),
        "seconds_per_epoch": sorted(metrics["seconds"] for metrics in history)[len(history) // 2],
        "compile_seconds": sum(metrics.get("compile_seconds", 0.0) for metrics in history),
        "num_parameters": about["num_parameters"],
        "command": about["command"],
        "device": about["device"],
    }


def collect(chosen: argparse.Namespace, names: list[str]) -> dict[str, Any]:
    """Compare what is there: the images that all estimates have come to."""
    found = {
        (name, kind): LogMarginal.load(target(chosen, name, kind))
        for name in names
        for kind in ESTIMATES
        if target(chosen, name, kind).with_suffix(".json").exists()
    }
    names = [name for name in names if all((name, kind) in found for kind in ESTIMATES)]
    runs = {name: trained(chosen.runs / name) for name in names}
    left_out = (
        {} if chosen.smoke else {n: r for n, r in runs.items() if r.get("kl_weight_at_best", 1) < LEAST_KL_WEIGHT}
    )
    names = [name for name in names if name not in left_out]
    if not names:
        raise SystemExit("Expected estimates of at least one run; got none. See the logs, and give more seconds.")
    count = min(len(found[name, kind]) for name in names for kind in ESTIMATES)
    comparisons = {kind: compare({name: found[name, kind][:count] for name in names}) for kind in ESTIMATES}
    rows = []
    for name in names:
        row: dict[str, Any] = {"prior": name, **runs[name]}
        for kind, comparison in comparisons.items():
            result = found[name, kind]
            about = json.loads(target(chosen, name, kind).with_suffix(".json").read_text())
            row[kind] = {
                "log_marginal": measured(comparison.log_marginal[name]),
                "share_with_khat_above_0.7": (result[:count].khat > 0.7).double().mean().item(),
                "median_ess": result[:count].ess.median().item(),
                "seconds": about["seconds"],
                "num_images": len(result),
            }
            if (names[0], name) in comparison.differences:
                row[kind]["difference"] = measured(-comparison.differences[names[0], name])
        gained = found[name, "auto"][:count].log_prob - found[name, "guide"][:count].log_prob
        error = gained.std().item() / count**0.5
        row["gained"] = {"value": gained.mean().item(), "standard_error": error, "largest": gained.max().item()}
        rows.append(row)
    settings = {kind: settings_of(chosen, kind) for kind in ESTIMATES}
    return {
        "protocol": images(chosen)[1],
        "num_images": count,
        "estimates": settings,
        "rows": rows,
        "left_out": left_out,
    }


def figure(result: dict[str, Any]) -> Figure:
    """log p(x) above the first prior, image by image, under both estimates, and what each prior gains by the better."""
    rows = sorted(result["rows"], key=lambda row: row["auto"]["log_marginal"]["value"])
    page = Figure(figsize=(10, 1.6 + 0.55 * len(rows)), layout="constrained")
    left, right = page.subplots(1, 2, sharey=True, width_ratios=[3, 2])
    none = {"value": 0.0, "low": 0.0, "high": 0.0}
    for kind, label, colour, shift in (
        ("guide", "5,000 samples from the guide", "#9aa3ab", -0.13),
        ("auto", "default estimate, 1,000 samples", "#2f6fb0", 0.13),
    ):
        gaps = [row[kind].get("difference", none) for row in rows]
        errors = [[gap["value"] - gap["low"] for gap in gaps], [gap["high"] - gap["value"] for gap in gaps]]
        places = [place + shift for place in range(len(rows))]
        settings = {"fmt": "o", "color": colour, "capsize": 3, "label": label}
        left.errorbar([gap["value"] for gap in gaps], places, xerr=errors, **settings)
    gained = [row["gained"]["value"] for row in rows]
    right.barh(range(len(rows)), gained, xerr=[1.96 * row["gained"]["standard_error"] for row in rows], color="#2f6fb0")
    left.set_yticks(range(len(rows)), [row["prior"].replace(", ", ",\n") for row in rows])
    left.axvline(0, color="#9aa3ab", linewidth=1, zorder=0)
    left.set_xlabel(f"nats above {result['rows'][0]['prior']}, image by image, 95% interval")
    right.set_xlabel("nats that the default estimate\nfinds beyond the guide's samples")
    left.legend(frameon=False, fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    return page


def main() -> None:
    """Train, estimate, compare, save."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--root", default="data", help="folder of the data sets")
    options.add_argument("--runs", type=Path, default=Path("runs/priors_on_mnist"), help="folder of the runs")
    options.add_argument("--device", default="cpu")
    options.add_argument("--weights", type=Path, help="of a run of the standard prior from elsewhere, evaluated, too")
    options.add_argument("--train-seconds", type=float, default=1e9, help="for all runs together")
    options.add_argument("--evaluate-seconds", type=float, default=1e9, help="for all estimates together")
    options.add_argument("--steps", nargs="+", default=[*STEPS], choices=STEPS)
    options.add_argument("--estimate", nargs=2, metavar=("RUN", "KIND"), help="this one alone, in this process")
    chosen = parsed(options, "priors_on_mnist")
    temporary = tempfile.mkdtemp() if chosen.smoke and chosen.runs == options.get_default("runs") else None
    chosen.runs = Path(temporary) if temporary else chosen.runs
    if chosen.estimate:
        estimate(chosen, *chosen.estimate, stoppable=True)
        return
    if "train" in chosen.steps:
        train(chosen)
    names = [name for name in PRIORS if (chosen.runs / name / "run.json").exists()]
    names += [GIVEN] if chosen.weights else []
    if "evaluate" in chosen.steps:
        evaluate(chosen, names)
    if "compare" in chosen.steps:
        result = collect(chosen, names)
        save(chosen, result)
        figure(result).savefig(chosen.out.with_suffix(".png"), dpi=130)
    if temporary:
        shutil.rmtree(temporary)


if __name__ == "__main__":
    main()
