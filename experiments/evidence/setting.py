"""What the experiments of this folder share: the trained model they look at, and how they keep what they find."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pyro_vae import VAE, Bernoulli, GatedMLP, GaussianEncoder, StandardNormal, data, fit
from pyro_vae.runs.environment import environment

RESULTS = Path(__file__).parent.parent / "results"


def digits_vae(*, latent_dim: int = 40, epochs: int = 100) -> tuple[VAE, data.Data]:
    """The VAE that `pyro-vae train --data digits` trains by default, and its data (dynamically binarized)."""
    digits = data.load("digits", binarization="dynamic")
    torch.manual_seed(0)
    px = Bernoulli(digits.event_shape, mean=digits.train.mean(0))
    encoder = GaussianEncoder(digits.event_shape, latent_dim, network=GatedMLP)
    vae = VAE(StandardNormal(latent_dim), encoder, GatedMLP(latent_dim, px.feature_shape), px)
    if epochs:
        fit(vae.model, vae.guide, digits, epochs=epochs, device="cpu", progress=False)
    return vae, digits


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Seconds of wall clock and of this process's cores, filled in at the end; the second is fair on a busy machine."""
    seconds: dict[str, float] = {}
    wall, cores = time.perf_counter(), time.process_time()
    yield seconds
    seconds |= {"seconds": time.perf_counter() - wall, "core_seconds": time.process_time() - cores}


def parser(about: str) -> argparse.ArgumentParser:
    """Knows --smoke and --out."""
    options = argparse.ArgumentParser(description=about)
    options.add_argument("--smoke", action="store_true", help="see that it works, in seconds; the numbers mean nothing")
    options.add_argument("--out", type=Path, help="JSON; figures go beside it")
    return options


def parsed(options: argparse.ArgumentParser, name: str) -> argparse.Namespace:
    """What was given, with the results of this name as --out where it was not."""
    chosen = options.parse_args()
    chosen.out = chosen.out or RESULTS / f"{name}.json"
    torch.set_num_threads(1)  # small models: more threads only wait for each other
    return chosen


def arguments(name: str, about: str) -> argparse.Namespace:
    """--smoke and --out."""
    return parsed(parser(about), name)


def save(chosen: argparse.Namespace, content: dict[str, Any]) -> None:
    """Write JSON with all that its numbers need to be understood."""
    command = " ".join(["python", f"experiments/evidence/{Path(sys.argv[0]).name}", *sys.argv[1:]])
    device = torch.device(getattr(chosen, "device", "cpu"))
    about = {"command": command, **environment(device), "smoke": chosen.smoke}
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    chosen.out.write_text(json.dumps(about | content, indent=2) + "\n")
    print(f"saved in {chosen.out}")
