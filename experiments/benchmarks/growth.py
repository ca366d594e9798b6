"""How cost grows with what is asked for: python experiments/benchmarks/growth.py

Images, samples, latent size and pseudo-inputs are doubled five times, each from a small start with the others fixed. A
row has the seconds of log p(x) for all images, uncompiled, or those of a training step, after compiling.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pyro.infer import Trace_ELBO
from tabulate import tabulate

from pyro_vae import MLP, VAE, Bernoulli, CompiledELBO, GaussianEncoder, StandardNormal, VampPrior, fit, log_marginal
from pyro_vae.commands.main import keep_freed_memory
from pyro_vae.runs.environment import environment

EVENT_SHAPE, HIDDEN, BATCH_SIZE = (1, 28, 28), (400,), 128
IMAGES, SAMPLES, LATENT_DIM, PSEUDO_INPUTS = 64, 250, 20, 50  # the starts
DOUBLINGS, STEPS, REPETITIONS = 5, 50, 3


def build(latent_dim: int, pseudo_inputs: int | None, device: torch.device) -> VAE:
    """A VAE with a standard normal prior, or a VampPrior of so many pseudo-inputs."""
    torch.manual_seed(0)
    encoder = GaussianEncoder(EVENT_SHAPE, latent_dim, network=functools.partial(MLP, hidden=HIDDEN))
    pz = StandardNormal(latent_dim)
    if pseudo_inputs:
        pz = VampPrior(encoder, torch.rand(pseudo_inputs, *EVENT_SHAPE), num_components=pseudo_inputs)
    return VAE(pz, encoder, MLP(latent_dim, EVENT_SHAPE, hidden=HIDDEN), Bernoulli(EVENT_SHAPE)).to(device)


def evidence_seconds(images: int, samples: int, device: torch.device, repetitions: int) -> list[float]:
    """log p(x) of so many images with so many samples, uncompiled: compiling takes as long whatever the count."""
    vae, seconds = build(LATENT_DIM, None, device), []
    x = torch.rand(images, *EVENT_SHAPE, device=device).round()
    for _ in range(repetitions):
        started = time.perf_counter()
        log_marginal(
            vae.model, vae.guide, x, num_samples=samples, compile=False, estimator="guide"
        ).log_prob.sum().item()
        seconds.append(time.perf_counter() - started)
    return seconds


def step_seconds(vae: VAE, device: torch.device, repetitions: int, *, steps: int, backend: Any) -> list[float]:
    """One step of `fit`: each epoch after the first, in which steps are compiled, is one repetition."""
    x = torch.rand(steps * BATCH_SIZE, *EVENT_SHAPE, device=device).round()
    objective = CompiledELBO(Trace_ELBO(), backend=backend)
    result = fit(vae.model, vae.guide, x, objective=objective, epochs=1 + repetitions, progress=False)
    return [entry["seconds"] / steps for entry in result.history[1:]]


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--smoke", action="store_true", help="see that it works, in seconds; the numbers mean nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results" / "growth.json")
    settings = parser.parse_args()
    keep_freed_memory()
    device = torch.device(settings.device)
    doublings, steps, repetitions = (1, 4, 2) if settings.smoke else (DOUBLINGS, STEPS, REPETITIONS)
    images, samples, pseudo_inputs = (4, 5, 2) if settings.smoke else (IMAGES, SAMPLES, PSEUDO_INPUTS)
    step = functools.partial(step_seconds, device=device, repetitions=repetitions, steps=steps)
    step = functools.partial(step, backend="eager" if settings.smoke else "inductor")
    measures: dict[str, tuple[int, Callable[[int], list[float]]]] = {
        "images, log p(x)": (images, lambda n: evidence_seconds(n, samples, device, repetitions)),
        "samples, log p(x)": (samples, lambda n: evidence_seconds(images, n, device, repetitions)),
        "latent size, step": (LATENT_DIM, lambda n: step(build(n, None, device))),
        "pseudo-inputs, step": (pseudo_inputs, lambda n: step(build(LATENT_DIM, n, device))),
    }
    rows: list[dict[str, Any]] = []
    for method, (start, measure) in measures.items():
        for n in (start * 2**k for k in range(doublings + 1)):
            rows.append({"method": method, "count": n, "seconds": measure(n)})
            print(f"{method}: {n} done", file=sys.stderr)

    shown, before = [], None
    for row in rows:
        best = min(row["seconds"])
        factor = best / min(before["seconds"]) if before and before["method"] == row["method"] else None
        shown.append([row["method"], f"{row['count']:,}", f"{1e3 * best:,.2f}", f"{factor:.2f}" if factor else ""])
        before = row
    headers = ["what is doubled, what is timed", "count", "ms", "times the one before"]
    print(tabulate(shown, headers, tablefmt="github", disable_numparse=True))
    about = {"command": f"python experiments/benchmarks/growth.py {shlex.join(sys.argv[1:])}".strip()}
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    content = about | environment(device) | {"smoke": settings.smoke, "rows": rows}
    settings.out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
