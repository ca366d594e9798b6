"""Time of a whole training run, imports and compiling included: python experiments/benchmarks/whole_run.py --root DATA

Each method is a process of its own that reads static MNIST and trains the VAE 784-400-20-400-784 for 20 epochs at batch
size 128: this library's command line, Pyro the way of its VAE example (DataLoader, SVI with Trace_ELBO and
pyro.optim.Adam), and NumPyro the way of its own (one jitted loop over the batches of an epoch). The command line also
validates after each epoch and writes its run folder, with figures; the examples do neither.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tabulate import tabulate

BATCH_SIZE, LEARNING_RATE, LATENT_DIM, HIDDEN = 128, 1e-3, 20, 400
EPOCHS, REPETITIONS = 20, 3
PEERS = ("numpyro", "jax")
AGAIN = "pyro_vae, compiled again"  # a second run, which finds what the first has compiled
OURS = {
    "pyro_vae, compiled": ["--compile", "auto"],
    AGAIN: ["--compile", "auto"],
    "pyro_vae, plain": ["--compile", "false"],
}


def images(data: str, root: str | None) -> Any:
    """Training images (N, D), black or white."""
    from pyro_vae import data as sources

    return sources.load(data, root=root, **({"binarization": "threshold"} if data == "digits" else {})).train.flatten(1)


def pyro_example(data: str, root: str | None, epochs: int, device: str) -> None:
    """As in Pyro's VAE example."""
    import pyro
    import pyro.distributions as dist
    import torch
    from pyro.infer import SVI, Trace_ELBO
    from torch import nn

    train = images(data, root)
    pixels = train.shape[1]
    encoder = nn.Sequential(nn.Linear(pixels, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 2 * LATENT_DIM)).to(device)
    decoder = nn.Sequential(nn.Linear(LATENT_DIM, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, pixels)).to(device)

    def model(x: torch.Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            zero = x.new_zeros(len(x), LATENT_DIM)
            z = pyro.sample("latent", dist.Normal(zero, zero + 1).to_event(1))
            pyro.sample("obs", dist.Bernoulli(logits=decoder(z)).to_event(1), obs=x)

    def guide(x: torch.Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            loc, log_scale = encoder(x).chunk(2, -1)
            pyro.sample("latent", dist.Normal(loc, log_scale.exp()).to_event(1))

    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(train), batch_size=BATCH_SIZE, shuffle=True)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": LEARNING_RATE}), loss=Trace_ELBO())
    for _ in range(epochs):
        loss = sum(svi.step(x.to(device)) for (x,) in loader) / len(train)
    print(f"loss {loss:.2f}")


def numpyro_example(data: str, root: str | None, epochs: int, device: str) -> None:
    """As in NumPyro's VAE example, with a scan over the batches of an epoch."""
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from jax.example_libraries import stax
    from numpyro.infer import SVI, Trace_ELBO

    train = jnp.asarray(images(data, root).numpy())
    count, pixels = train.shape
    encoder = stax.serial(stax.Dense(HIDDEN), stax.Relu, stax.Dense(2 * LATENT_DIM))
    decoder = stax.serial(stax.Dense(HIDDEN), stax.Relu, stax.Dense(pixels))

    def model(x: Any) -> None:
        decode = numpyro.module("decoder", decoder, (BATCH_SIZE, LATENT_DIM))
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("latent", dist.Normal(0, 1).expand([LATENT_DIM]).to_event(1))
            numpyro.sample("obs", dist.Bernoulli(logits=decode(z)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        encode = numpyro.module("encoder", encoder, (BATCH_SIZE, pixels))
        with numpyro.plate("data", len(x)):
            loc, log_scale = jnp.split(encode(x), 2, -1)
            numpyro.sample("latent", dist.Normal(loc, jnp.exp(log_scale)).to_event(1))

    svi = SVI(model, guide, numpyro.optim.Adam(LEARNING_RATE), Trace_ELBO())
    state = svi.init(jax.random.PRNGKey(0), train[:BATCH_SIZE])

    @jax.jit
    def epoch(state: Any, order: Any) -> Any:
        return jax.lax.scan(lambda state, chosen: svi.update(state, train[chosen]), state, order)

    for i in range(epochs):  # the last, smaller batch of an epoch is left out
        order = jax.random.permutation(jax.random.PRNGKey(i), count)[: count // BATCH_SIZE * BATCH_SIZE]
        state, losses = epoch(state, order.reshape(-1, BATCH_SIZE))
    print(f"loss {losses.mean() / BATCH_SIZE:.2f}")


EXAMPLES = {"Pyro's example": pyro_example, "NumPyro's example": numpyro_example}


def commands(settings: argparse.Namespace) -> dict[str, list[str]]:
    """The command of each method."""
    train = [sys.executable, "-m", "pyro_vae", "train", "--data", settings.data, "--batch-size", str(BATCH_SIZE)]
    train += ["--epochs", str(settings.epochs), "--latent-dim", str(LATENT_DIM), "--device", settings.device]
    train += ["--network", "MLP", "--network.hidden", f"[{HIDDEN}]", "--learning-rate", str(LEARNING_RATE)]
    train += ["--binarization", "threshold"] if settings.data == "digits" else []
    train += ["--root", settings.root] if settings.root else []
    found = {name: [*train, *options] for name, options in OURS.items()}
    again = [sys.executable, __file__, "--data", settings.data, "--epochs", str(settings.epochs)]
    again += ["--device", settings.device] + (["--root", settings.root] if settings.root else [])
    return found | {name: [*again, "--method", name] for name in EXAMPLES}


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="static_mnist")
    parser.add_argument("--root")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--smoke", action="store_true", help="see that it works, in seconds; the numbers mean nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results" / "whole_run.json")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--method", choices=EXAMPLES, help="run this one alone, in this process")
    settings = parser.parse_args()
    if settings.method:
        EXAMPLES[settings.method](settings.data, settings.root, settings.epochs, settings.device)
        return
    if settings.smoke:
        settings.data, settings.root, settings.epochs, settings.repetitions = "digits", None, 1, 1
    rows: list[dict[str, Any]] = [{"method": name, "seconds": []} for name in commands(settings)]
    for row in rows:
        if row["method"].startswith("NumPyro") and importlib.util.find_spec("numpyro") is None:
            row["missing"] = "not installed"
        if row["method"] in (AGAIN, "pyro_vae, plain") and settings.smoke:
            row["missing"] = "left out"
    with tempfile.TemporaryDirectory() as folder:
        for repetition in range(settings.repetitions):
            for i, (row, command) in enumerate(zip(rows, commands(settings).values(), strict=True)):
                if "missing" in row:
                    continue
                out = ["--out", f"{folder}/{repetition}-{i}"] if "--method" not in command else []
                # All that torch's compiler keeps lies in the folder for temporary files: the first run finds nothing.
                (temporary := Path(folder, f"kept-{repetition}")).mkdir(exist_ok=True)
                kept = {"TMPDIR": str(temporary), "TORCHINDUCTOR_CACHE_DIR": str(temporary / "compiled")}
                started = time.perf_counter()
                subprocess.run([*command, *out], check=True, capture_output=True, env=os.environ | kept)
                row["seconds"].append(round(time.perf_counter() - started, 2))
                print(f"{row['method']}: {row['seconds'][-1]:.1f} s", file=sys.stderr)

    shown = [[row["method"], row.get("missing") or f"{statistics.median(row['seconds']):.1f}"] for row in rows]
    print(
        tabulate(shown, ["method", f"seconds for {settings.epochs} epochs"], tablefmt="github", disable_numparse=True)
    )
    import torch

    from pyro_vae.runs.environment import environment

    about = {"command": f"python experiments/benchmarks/whole_run.py {shlex.join(sys.argv[1:])}".strip()}
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    content = about | environment(torch.device(settings.device)) | {"smoke": settings.smoke}
    content |= {"data": settings.data, "epochs": settings.epochs, "rows": rows}
    content["versions"] |= {name: version(name) for name in PEERS if importlib.util.find_spec(name)}
    settings.out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
