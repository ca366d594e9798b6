"""Many trainings in one process: what they leave behind: python experiments/robustness/many_fits.py

Plain and recorded steps take turns. Before the first training that counts and after the last one are looked at: memory,
files that are open, threads, and every setting of the process that a library could change behind its user's back.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import shlex
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyro
import torch
from pyro.infer import Trace_ELBO
from pyro.poutine.util import is_validation_enabled

from pyro_vae import MLP, VAE, Bernoulli, CompiledELBO, GaussianEncoder, StandardNormal, fit, log_marginal
from pyro_vae.runs.environment import environment

FIRST = 20  # trainings that fill caches before anything is looked at


def train(seed: int, x: torch.Tensor) -> None:
    """One training and one estimate, of a pair of its own."""
    px = Bernoulli((1, 4, 4))
    with torch.random.fork_rng([]):  # the first weights are drawn here, not there
        vae = VAE(StandardNormal(2), GaussianEncoder((1, 4, 4), 2), MLP(2, px.feature_shape), px)
    objective = CompiledELBO(Trace_ELBO(), backend="eager") if seed % 2 else Trace_ELBO()
    fit(vae.model, vae.guide, x, objective=objective, epochs=2, batch_size=32, seed=seed, progress=False, compile=False)
    log_marginal(vae.model, vae.guide, x[:5], num_samples=20, seed=seed, compile=False, estimator="guide")


def held() -> dict[str, int]:
    """Kibibytes of memory, files, threads and tensors that the process has."""
    gc.collect()
    status = Path("/proc/self/status").read_text().splitlines()
    memory = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    tensors = sum(issubclass(type(found), torch.Tensor) for found in gc.get_objects())
    files = len(os.listdir("/proc/self/fd"))
    return {"memory, KiB": memory, "files": files, "threads": threading.active_count(), "tensors": tensors}


def switches() -> dict[str, str]:
    """Every setting of the process that others rely on; where the random streams are."""
    found = {
        "validation of distributions": torch.distributions.Distribution._validate_args,
        "validation of Pyro": (pyro.distributions.is_validation_enabled(), is_validation_enabled()),
        "default type": torch.get_default_dtype(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "deterministic": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic),
        "threads of torch": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "param store": sorted(pyro.get_param_store().keys()),
        "handlers": len(pyro.poutine.runtime._PYRO_STACK),
        "stream of torch": torch.get_rng_state().sum().item(),
        "stream of Python": hash(random.getstate()),
        "stream of NumPy": int(np.random.get_state()[1].sum()),  # noqa: NPY002 (the global one is looked at)
        "working directory": os.getcwd(),
        "environment": len(os.environ),
    }
    return {name: str(value) for name, value in found.items()}


def main() -> None:
    """Train, compare and save."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fits", type=int, default=200)
    parser.add_argument("--smoke", action="store_true", help="a few trainings, to see that it works")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "many_fits.json")
    settings = parser.parse_args()
    torch.set_num_threads(1)
    x, fits = torch.rand(64, 1, 4, 4).round(), 4 if settings.smoke else settings.fits
    for seed in range(2 if settings.smoke else FIRST):
        train(seed, x)
    before, switches_before, began = held(), switches(), time.monotonic()
    for seed in range(fits):
        train(seed, x)
    after, switches_after = held(), switches()
    changed = [name for name, value in switches_before.items() if switches_after[name] != value]
    rows: list[dict[str, Any]] = [{"method": name, "before": before[name], "after": after[name]} for name in before]
    for row in rows:
        print(row)
    print(f"changed: {changed or 'nothing'}")
    line = shlex.join(["python", "experiments/robustness/many_fits.py", *sys.argv[1:]])
    result = environment(torch.device("cpu")) | {"command": line, "smoke": settings.smoke, "fits": fits}
    result |= {"rows": rows, "switches": len(switches_before), "changed": changed}
    settings.out.write_text(json.dumps(result | {"seconds": time.monotonic() - began}, indent=2) + "\n")


if __name__ == "__main__":
    main()
