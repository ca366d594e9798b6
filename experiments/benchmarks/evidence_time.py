"""Time of log p(x) by importance sampling, per image and sample: python experiments/benchmarks/evidence_time.py

Every method scores the same trained VAE (MLP 784-400-20-400-784) on the same images, the scikit-learn digits enlarged
to 28 x 28 and binarized, with the same number of samples, in turn. In each run the time is taken when half of the
images are done (or a few more, where a chunk ends): the cost of an image and sample is that of the rest, which leaves
compiling out; "fixed" is what the first ones took longer.
The bias of bf16 is its mean difference to fp32 at the same seed, with its standard error over the images. The share of
the product rate is the time that the decoder's matrix products alone would take, at the rate measured here for products
of their size in fp32, over the time taken. Ours runs within its default memory budget of 1 GiB. The peak is what a
process of the method's own needs beyond what it had before, on a CPU including code and buffers of the libraries.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import math
import shlex
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from machine import product_rate
from pythae_twin import pythae_twin
from tabulate import tabulate
from torch import Tensor, nn
from torch.nn import functional

from pyro_vae import (
    MLP,
    VAE,
    Bernoulli,
    GaussianEncoder,
    HeavyTail,
    LogMarginal,
    StandardNormal,
    data,
    fit,
    log_marginal,
)
from pyro_vae.runs.environment import environment

SIDE, LATENT_DIM, HIDDEN = 28, 20, (400,)
EPOCHS = 30  # of training, before
NUM_IMAGES, NUM_SAMPLES, CHUNK_SIZE = 256, 2000, 4096
REPETITIONS = 5
PEERS = ("pythae",)
PYTHAE_BATCH_SIZE = 100  # samples in a pass, pythae's default

# Images, number of samples, what to call once with the number of images done, half of them or a few more -> log p(x) of
# each image, or their mean.
Method = Callable[[Tensor, int, Callable[[int], None]], Tensor]


def images_and_model(device: torch.device, epochs: int) -> tuple[Tensor, VAE]:
    """Held-out images (N, 1, 28, 28), and the VAE trained on others."""
    digits = data.load("digits")
    large = [
        functional.interpolate(part, SIDE, mode="bilinear").round() for part in (digits.train, digits.test)
    ]  # black or white
    torch.manual_seed(0)
    mlp = functools.partial(MLP, hidden=HIDDEN)
    px = Bernoulli(large[0].shape[1:], mean=large[0].mean(0))
    encoder = GaussianEncoder(px.event_shape, LATENT_DIM, network=mlp)
    vae = VAE(StandardNormal(LATENT_DIM), encoder, mlp(LATENT_DIM, px.event_shape), px)
    fit(vae.model, vae.guide, large[0], epochs=epochs, device=device, progress=False)
    return large[1].to(device), vae


def by_hand(vae: VAE) -> Method:
    """The loop one would write in torch: many images and samples in a pass, each image encoded once for all."""

    @torch.no_grad()
    def run(x: Tensor, num_samples: int) -> Tensor:
        results = []
        for batch in x.split(64):
            loc, raw = vae.encoder.network(batch).unbind(-2)  # each (B, D)
            scale = 1e-4 + functional.softplus(raw)
            log_weights = []
            draws = max(1, CHUNK_SIZE // len(batch))
            for start in range(0, num_samples, draws):
                noise = torch.randn(min(draws, num_samples - start), *loc.shape, device=x.device)  # (K, B, D)
                z = loc + scale * noise
                log_ratio = (0.5 * (noise.square() - z.square()) + scale.log()).sum(-1)  # log p(z) - log q(z|x)
                logits = vae.decoder(z) + vae.likelihood.bias  # (K, B, 1, 28, 28)
                target = batch.expand(logits.shape)
                cross = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
                log_weights.append(log_ratio - cross.flatten(2).sum(-1))
            results.append(torch.cat(log_weights).double().logsumexp(0) - math.log(num_samples))
        return torch.cat(results)

    return in_halves(run)


def in_halves(run: Callable[[Tensor, int], Tensor]) -> Method:
    """A method that does not tell how far it is, on one half of the images after the other."""

    def run_both(x: Tensor, num_samples: int, halfway: Callable[[int], None]) -> Tensor:
        first, second = x.chunk(2)
        estimate = run(first, num_samples)
        halfway(len(first))
        return torch.cat([estimate, run(second, num_samples)])

    return run_both


def ours(vae: VAE, **options: Any) -> Method:
    """This library's estimate."""

    def run(x: Tensor, num_samples: int, halfway: Callable[[int], None]) -> Tensor:
        def on_result(images: list[int], result: LogMarginal) -> None:
            if len(x) // 2 - 1 in images:
                halfway(images[-1] + 1)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HeavyTail)
            options_ = options | {"num_samples": num_samples, "on_result": on_result}
            return log_marginal(vae.model, vae.guide, x, **options_, estimator="guide").log_prob

    return run


def pythae_nll(vae: VAE) -> Method | str:
    """get_nll of pythae's VAE around the same networks."""
    if importlib.util.find_spec("pythae") is None:
        return "not installed"

    class Means(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder, self.likelihood = vae.decoder, vae.likelihood

        def forward(self, z: Tensor) -> Tensor:
            return (self.decoder(z) + self.likelihood.bias).sigmoid()

    model = pythae_twin(
        vae.encoder.network,
        lambda raw: 2 * (1e-4 + functional.softplus(raw)).log(),
        Means(),
        event_shape=(1, SIDE, SIDE),
        latent_dim=LATENT_DIM,
    )

    @torch.no_grad()
    def run(x: Tensor, num_samples: int) -> Tensor:  # get_nll is the mean of log p(x), whatever its name says
        nll = model.get_nll(x, n_samples=num_samples, batch_size=min(num_samples, PYTHAE_BATCH_SIZE))
        return torch.as_tensor([nll], dtype=torch.float64)

    return in_halves(run)


class Peak:
    """Largest memory in use beyond what was there before, in MiB; None where the system does not tell."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def start(self) -> None:
        """Begin to watch."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
            self.before = torch.cuda.memory_allocated(self.device)
        elif (path := Path("/proc/self/clear_refs")).exists():
            path.write_text("5")
            self.before = self._status("VmRSS")

    def read(self) -> float | None:
        """MiB since the start."""
        if self.device.type == "cuda":
            return (torch.cuda.max_memory_allocated(self.device) - self.before) / 2**20
        return (self._status("VmHWM") - self.before) / 2**20 if hasattr(self, "before") else None

    def _status(self, name: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))


def peak_of(name: str, settings: argparse.Namespace) -> float | None:
    """MiB that a method needs, in a process of its own: what another one has freed would hide them."""
    command = [sys.executable, __file__, "--peak-of", name, "--device", settings.device]
    command += ["--images", str(settings.images), "--samples", str(settings.samples)]
    command += ["--smoke"] if settings.smoke else []
    found = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]
    return None if found == "None" else float(found)


def timed(run: Method, x: Tensor, num_samples: int) -> tuple[float, float, Tensor]:
    """Seconds of an image without what is done once; seconds done once; estimates on the CPU."""
    ticks = [(0, time.perf_counter())]

    def tick(done: int) -> None:
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        ticks.append((done, time.perf_counter()))

    estimate = run(x, num_samples, tick)
    tick(len(x))
    (_, started), (half, halfway), (_, finished) = ticks
    if half == len(x):
        raise ValueError(f"Expected images for more than one chunk; got {len(x)}. Give more --images.")
    each = (finished - halfway) / (len(x) - half)
    return each, halfway - started - half * each, estimate.double().cpu()


def measure(methods: dict[str, Method | str], x: Tensor, settings: argparse.Namespace) -> list[dict[str, Any]]:
    """One row for each method, all of them run in turn in each repetition."""
    rows = {name: {"method": name} for name in methods}
    seconds: dict[str, list[tuple[float, float]]] = {}
    for name, run in methods.items():
        if isinstance(run, str):
            rows[name]["missing"] = run
            continue
        peak = Peak(x.device)
        if x.is_cuda:  # where what another method has freed hides nothing
            peak.start()
        *_, estimate = timed(run, x, settings.samples)
        left_out = settings.smoke and seconds  # a process takes seconds to start; one shows that it works
        rows[name] |= {"peak_mib": peak.read() if x.is_cuda else None if left_out else peak_of(name, settings)}
        rows[name] |= {"log_marginal": estimate.mean().item()}
        rows[name]["estimate"], seconds[name] = estimate, []
    for _ in range(settings.repetitions):
        for name, times in seconds.items():
            times.append(timed(methods[name], x, settings.samples)[:2])
    for name, times in seconds.items():
        each, fixed = (statistics.median(parts) for parts in zip(*times, strict=True))
        rows[name] |= {"nanoseconds": 1e9 * each / settings.samples, "fixed_seconds": fixed, "seconds": times}
    return list(rows.values())


def add_bias(rows: list[dict[str, Any]]) -> None:
    """Mean difference of bf16 to fp32 at the same seed, in nats, and its standard error over the images."""
    estimates = {row["method"]: row.pop("estimate", None) for row in rows}
    exact = estimates.get("pyro_vae, plain", estimates.get("pyro_vae, compiled"))
    for row in rows:
        if "bf16" in row["method"] and exact is not None:
            difference = estimates[row["method"]] - exact
            row["bias_nats"] = difference.mean().item()
            row["bias_standard_error"] = difference.std().item() / math.sqrt(len(difference))


def add_share(rows: list[dict[str, Any]], rate: float) -> None:
    """The share of the product rate that each method reaches."""
    operations = 2 * (LATENT_DIM * HIDDEN[0] + HIDDEN[-1] * SIDE * SIDE)  # of one image and sample
    for row in rows:
        if "nanoseconds" in row:
            row["share_of_product_rate"] = operations / rate / (row["nanoseconds"] * 1e-9)


def table(rows: list[dict[str, Any]]) -> str:
    """The rows for people."""
    lines = []
    for row in rows:
        shown = [row.get("missing"), "", "", "", "", ""]
        if "missing" not in row:
            bias = f"{row['bias_nats']:+.4f} +- {row['bias_standard_error']:.4f}" if "bias_nats" in row else ""
            peak = "" if row["peak_mib"] is None else f"{row['peak_mib']:.0f}"
            shown = [
                f"{row['nanoseconds']:,.0f}", f"{100 * row['share_of_product_rate']:.0f}%",
                f"{row['fixed_seconds']:.1f}", peak, f"{row['log_marginal']:.3f}", bias,
            ]  # fmt: skip
        lines.append([row["method"], *shown])
    headers = [
        "method",
        "ns per image and sample",
        "share of product rate",
        "fixed, s",
        "peak, MiB",
        "mean log p(x), nats",
        "bias of bf16, nats",
    ]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--smoke", action="store_true", help="see that it works, in seconds; the numbers mean nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results" / "evidence_time.json")
    parser.add_argument("--images", type=int, default=NUM_IMAGES, help="from the start again where there are fewer")
    parser.add_argument("--samples", type=int, default=NUM_SAMPLES)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="these alone, by their names in the table")
    parser.add_argument("--peak-of", metavar="METHOD", help="print the memory that this method needs, in MiB")
    settings = parser.parse_args()
    if settings.smoke:
        settings.images, settings.samples, settings.repetitions = 8, 3, 2
    device = torch.device(settings.device)
    x, vae = images_and_model(device, epochs=1 if settings.smoke or settings.peak_of else EPOCHS)
    x = x[torch.arange(settings.images, device=device) % len(x)]  # on a GPU, one chunk can take more than there are
    compiled: Any = "auto" if settings.smoke else True  # so little work is not compiled
    mine = functools.partial(ours, vae, chunk_size=12 if settings.smoke else None)
    methods: dict[str, Method | str] = {
        "torch by hand, vectorized": by_hand(vae),
        "pythae, get_nll": pythae_nll(vae),
        "pyro_vae, plain": mine(compile=False),
        "pyro_vae, compiled": mine(compile=compiled),
        "pyro_vae, compiled, bf16": mine(compile=compiled, precision="bf16"),
    }
    chosen = [settings.peak_of] if settings.peak_of else settings.methods or list(methods)
    if unknown := set(chosen) - methods.keys():
        parser.error(f"Expected methods among {', '.join(methods)}; got {', '.join(sorted(unknown))}.")
    if settings.peak_of:
        peak = Peak(device)
        peak.start()
        methods[settings.peak_of](x, settings.samples, lambda done: None)  # type: ignore[operator]
        print(peak.read())
        return
    methods = {name: methods[name] for name in chosen}
    rows = measure(methods, x, settings)
    add_bias(rows)
    rate = product_rate((CHUNK_SIZE, HIDDEN[-1], SIDE * SIDE), device)  # the decoder's largest
    add_share(rows, rate)
    print(table(rows))
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    about = {
        "command": f"python experiments/benchmarks/evidence_time.py {shlex.join(sys.argv[1:])}".strip(),
        "num_samples": settings.samples,
        "num_images": settings.images,
        "product_rate_flops": rate,
    }
    content = about | environment(device) | {"smoke": settings.smoke, "rows": rows}
    content["versions"] |= {name: version(name) for name in PEERS if importlib.util.find_spec(name)}
    settings.out.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
