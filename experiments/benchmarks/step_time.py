"""Time of one training step of the same VAE, by this library and by others: python experiments/benchmarks/step_time.py

Every method trains the same network (MLP 784-400-20-400-784, or two convolutions each way) on the same black-or-white
images with Adam. In each repetition every method runs once, in turn; the table has the medians. `fit` is timed by its
own last epoch, from the choice of the images at random to the best state kept; the others visit ready batches in turn.
The fraction is that of the measured float32 matrix-product rate, with the floating-point operations of hand-written
torch for every method. The C library keeps freed memory in this process, as it does under pyro-vae's command line.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import itertools
import json
import math
import os
import shlex
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import pyro
import torch
from machine import product_rate, synchronize
from pyro.infer import SVI, JitTrace_ELBO, Trace_ELBO
from pythae_twin import pythae_twin
from tabulate import tabulate
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from pyro_vae import (
    MLP,
    VAE,
    Bernoulli,
    CompiledELBO,
    ConvDecoder,
    ConvEncoder,
    GaussianEncoder,
    OneOptimizer,
    StandardNormal,
    VampPrior,
    adam,
    fit,
)
from pyro_vae.commands.main import keep_freed_memory
from pyro_vae.runs.environment import environment

EVENT_SHAPE, LATENT_DIM, HIDDEN = (1, 28, 28), 20, (400,)
NETWORKS, PRIORS, BATCH_SIZES = ("mlp", "conv"), ("standard", "vamp500"), (128, 1024)
STEPS, WARM_UP, REPETITIONS = 50, 10, 7  # as many batches as steps are kept ready on the device
LEARNING_RATE = 1e-3
PEERS = ("numpyro", "jax", "pythae")

Run = Callable[[int], float | None]  # trains so many steps; returns the seconds where it measures them itself


def build(network: str, prior: str, device: torch.device) -> VAE:
    """The VAE of a case, always with the same weights."""
    torch.manual_seed(0)
    mlp = functools.partial(MLP, hidden=HIDDEN)
    down, up = (mlp, mlp) if network == "mlp" else (ConvEncoder, ConvDecoder)
    encoder = GaussianEncoder(EVENT_SHAPE, LATENT_DIM, network=down)
    pz = StandardNormal(LATENT_DIM) if prior == "standard" else VampPrior(encoder, torch.rand(500, *EVENT_SHAPE))
    return VAE(pz, encoder, up(LATENT_DIM, EVENT_SHAPE), Bernoulli(EVENT_SHAPE)).to(device)


def batches_of(size: int, device: torch.device, *, count: int = STEPS) -> list[Tensor]:
    """Random images (B, 1, 28, 28): the time of a step does not depend on what they show."""
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(size, *EVENT_SHAPE, generator=generator).round().to(device) for _ in range(count)]


# By hand, in torch


def normal_log_prob(z: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """log Normal(z; loc, scale), summed over the last dimension."""
    return (-0.5 * ((z - loc) / scale).square() - scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


def loss_by_hand(vae: VAE, x: Tensor) -> Tensor:
    """One draw of -ELBO, summed over the batch, as one would write it without Pyro."""

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        loc, raw = vae.encoder.network(x).unbind(-2)
        return loc, 1e-4 + functional.softplus(raw)

    loc, scale = encode(x)
    z = loc + scale * torch.randn_like(loc)  # (B, D)
    if isinstance(vae.prior, StandardNormal):
        log_prior = normal_log_prob(z, torch.zeros_like(z), torch.ones_like(z))
    else:
        components = normal_log_prob(z[:, None], *encode(vae.prior.pseudo_inputs))  # (B, C)
        log_prior = (components + vae.prior.logits.log_softmax(-1)).logsumexp(-1)
    logits = vae.decoder(z) + vae.likelihood.bias
    distortion = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
    return distortion + (normal_log_prob(z, loc, scale) - log_prior).sum()


def torch_by_hand(vae: VAE, batches: list[Tensor], *, backend: str | None) -> Run:
    """Fused Adam on the loss by hand, eager or under torch.compile."""
    optimizer = torch.optim.Adam(vae.parameters(), lr=LEARNING_RATE, fused=True)
    loss_of = torch.compile(loss_by_hand, backend=backend) if backend else loss_by_hand

    def run(steps: int) -> None:
        for x in itertools.islice(itertools.cycle(batches), steps):
            loss = loss_of(vae, x)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return run


# Pyro


def pyro_svi(vae: VAE, batches: list[Tensor], *, optimizer: Any, objective: Any) -> Run:
    """Pyro's SVI on the pair of the VAE."""

    def model(x: Tensor) -> None:
        pyro.module("vae", vae)
        vae.model(x)

    svi = SVI(model, vae.guide, optimizer, objective)

    # SVI.step reads the loss in each step, which makes the host wait for a GPU; `fit` does not read it either.
    reads = not isinstance(objective, CompiledELBO)
    loss_and_grads = svi.loss_and_grads
    svi.loss_and_grads = lambda *args: loss_and_grads(*args) if reads else (loss_and_grads(*args), 0.0)[1]

    def run(steps: int) -> None:
        for x in itertools.islice(itertools.cycle(batches), steps):
            svi.step(x)

    return run


def stock_svi(vae: VAE, batches: list[Tensor]) -> Run:
    """As in Pyro's tutorial."""
    return pyro_svi(vae, batches, optimizer=pyro.optim.Adam({"lr": LEARNING_RATE}), objective=Trace_ELBO())


def jit_svi(vae: VAE, batches: list[Tensor]) -> Run:
    """Pyro's own TorchScript ELBO."""
    return pyro_svi(vae, batches, optimizer=pyro.optim.Adam({"lr": LEARNING_RATE}), objective=JitTrace_ELBO())


def ours(vae: VAE, batches: list[Tensor], *, backend: Any, precision: Any = "fp32") -> Run:
    """What `fit` does in a step."""
    objective = CompiledELBO(Trace_ELBO(), backend=backend, precision=precision) if backend else Trace_ELBO()
    check_every = 50 if batches[0].is_cuda else 1
    optimizer = OneOptimizer(adam(LEARNING_RATE), check_every=check_every)
    return pyro_svi(vae, batches, optimizer=optimizer, objective=objective)


def by_fit(vae: VAE, batches: list[Tensor], *, backend: Any, precision: Any = "fp32") -> Run:
    """`fit`, whose steps run from one graph from the third on; compiling is left out of the time."""
    images = torch.cat(batches)
    objective = CompiledELBO(Trace_ELBO(), backend=backend, precision=precision)

    def run(steps: int) -> float:
        options = {"batch_size": len(batches[0]), "epochs": 2 + 4 // len(batches), "optimizer": adam(LEARNING_RATE)}
        result = fit(vae.model, vae.guide, images, objective=objective, progress=False, **options)
        return steps * result.history[-1]["seconds"] / len(batches)

    return run


# Peers, of the extra [bench]


def numpyro_svi(vae: VAE, batches: list[Tensor], *, scan: bool) -> Run | str:
    """NumPyro's SVI on an MLP of the same widths, with one jitted step at a time or a scan over all."""
    if not isinstance(vae.decoder, MLP):
        return "not written"
    if importlib.util.find_spec("numpyro") is None:
        return "not installed"
    import jax
    import jax.numpy as jnp
    import numpyro
    import numpyro.distributions as dist
    from jax.example_libraries import stax
    from numpyro.infer import SVI as NumpyroSVI
    from numpyro.infer import Trace_ELBO as NumpyroTraceELBO

    pixels = math.prod(EVENT_SHAPE)
    hidden = [layer for width in HIDDEN for layer in (stax.Dense(width), stax.Relu)]
    encoder_net = stax.serial(*hidden, stax.Dense(2 * LATENT_DIM))
    decoder_net = stax.serial(*hidden, stax.Dense(pixels))
    vamp = isinstance(vae.prior, VampPrior)

    def q(encode: Any, x: Any) -> Any:
        loc, raw = jnp.split(encode(x), 2, axis=-1)
        return dist.Normal(loc, 1e-4 + jax.nn.softplus(raw)).to_event(1)

    def model(x: Any) -> None:
        decode = numpyro.module("decoder", decoder_net, (-1, LATENT_DIM))
        prior = dist.Normal(0, 1).expand([LATENT_DIM]).to_event(1)
        if vamp:
            encode = numpyro.module("encoder", encoder_net, (-1, pixels))
            pseudo = numpyro.param("pseudo", jnp.asarray(vae.prior.pseudo_inputs.detach().cpu().flatten(1).numpy()))
            weights = dist.Categorical(logits=numpyro.param("logits", jnp.zeros(len(pseudo))))
            prior = dist.MixtureSameFamily(weights, q(encode, pseudo))
        with numpyro.plate("data", len(x)):
            z = numpyro.sample("z", prior)
            numpyro.sample("x", dist.Bernoulli(logits=decode(z)).to_event(1), obs=x)

    def guide(x: Any) -> None:
        encode = numpyro.module("encoder", encoder_net, (-1, pixels))
        with numpyro.plate("data", len(x)):
            numpyro.sample("z", q(encode, x))

    stack = jnp.stack([jnp.asarray(x.cpu().flatten(1).numpy()) for x in batches])  # (batches, B, pixels)
    svi = NumpyroSVI(model, guide, numpyro.optim.Adam(LEARNING_RATE), NumpyroTraceELBO())
    state = svi.init(jax.random.PRNGKey(0), stack[0])
    update = jax.jit(svi.update)
    over_steps = jax.jit(
        lambda state, steps: jax.lax.scan(lambda state, i: svi.update(state, stack[i % len(stack)]), state, steps)
    )

    def run(steps: int) -> None:
        nonlocal state
        if scan:
            state, losses = over_steps(state, jnp.arange(steps))
        else:
            for i in range(steps):
                state, losses = update(state, stack[i % len(stack)])
        losses.block_until_ready()

    return run


def pythae_trainer(vae: VAE, batches: list[Tensor]) -> Run | str:
    """pythae's VAE around the same networks, under its own trainer."""
    if not isinstance(vae.prior, StandardNormal):
        return "not written"
    if importlib.util.find_spec("pythae") is None:
        return "not installed"
    from pythae.data.datasets import BaseDataset
    from pythae.trainers import BaseTrainer, BaseTrainerConfig

    decoder = nn.Sequential(vae.decoder, nn.Sigmoid())
    model = pythae_twin(vae.encoder.network, lambda raw: raw, decoder, event_shape=EVENT_SHAPE, latent_dim=LATENT_DIM)

    @functools.cache
    def trainer(steps: int) -> Any:  # whose epoch has so many steps; its loader draws the batches
        images = torch.cat([batches[i % len(batches)] for i in range(steps)]).cpu()
        config = BaseTrainerConfig(
            output_dir=tempfile.mkdtemp(), learning_rate=LEARNING_RATE, per_device_train_batch_size=len(batches[0])
        )
        made = BaseTrainer(model, BaseDataset(images, torch.zeros(len(images))), training_config=config)
        made.prepare_training()
        return made

    def run(steps: int) -> None:
        with open(os.devnull, "w") as nowhere, redirect_stderr(nowhere), redirect_stdout(nowhere):  # its progress bar
            trainer(steps).train_step(epoch=1)

    return run


def methods(backend: str) -> dict[str, Callable[[VAE, list[Tensor]], Run | str]]:
    """All methods by name; backend is what compiles torch's graphs."""
    return {
        "torch by hand, eager, fused Adam": functools.partial(torch_by_hand, backend=None),
        "torch by hand, torch.compile, fused Adam": functools.partial(torch_by_hand, backend=backend),
        "Pyro SVI, Trace_ELBO, pyro.optim.Adam": stock_svi,
        "Pyro SVI, JitTrace_ELBO, pyro.optim.Adam": jit_svi,
        "pyro_vae, plain": functools.partial(ours, backend=None),
        "pyro_vae, compiled": functools.partial(ours, backend=backend),
        "pyro_vae, compiled, bf16": functools.partial(ours, backend=backend, precision="bf16"),
        "pyro_vae, fit": functools.partial(by_fit, backend=backend),
        "pyro_vae, fit, bf16": functools.partial(by_fit, backend=backend, precision="bf16"),
        "NumPyro SVI, jitted step": functools.partial(numpyro_svi, scan=False),
        "NumPyro SVI, lax.scan": functools.partial(numpyro_svi, scan=True),
        "pythae, BaseTrainer": pythae_trainer,
    }


# Measuring


def operations(vae: VAE, x: Tensor) -> int:
    """Floating-point operations of the matrix products and convolutions of one step by hand."""
    with FlopCounterMode(display=False) as counter:
        loss_by_hand(vae, x).backward()
    return counter.get_total_flops()


def measure(case: tuple[str, str, int], device: torch.device, settings: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row for each method, all of them run in turn in each repetition."""
    network, prior, batch_size = case
    batches = batches_of(batch_size, device, count=settings.steps)
    work = operations(build(network, prior, device), batches[0])
    runs: dict[str, Run | str] = {}
    for name, make in methods("eager" if settings.smoke else "inductor").items():
        if settings.methods and name not in settings.methods:
            continue
        runs[name] = _with_own_store(make(build(network, prior, device), batches))
    seconds: dict[str, list[float]] = {name: [] for name, run in runs.items() if callable(run)}
    for name in seconds:
        runs[name](settings.warm_up)  # compiles, where that is done
        runs[name](settings.steps)  # and what depends on the number of steps
    for _ in range(settings.repetitions):
        for name, times in seconds.items():
            synchronize(device)
            started = time.perf_counter()
            measured = runs[name](settings.steps)
            synchronize(device)
            times.append((measured or time.perf_counter() - started) / settings.steps)
    for name, run in runs.items():
        row = {"network": network, "prior": prior, "batch_size": batch_size, "method": name}
        if isinstance(run, str):
            yield row | {"missing": run}
        else:
            median = statistics.median(seconds[name])
            milliseconds = [round(1e3 * second, 4) for second in seconds[name]]
            yield row | {"milliseconds": 1e3 * median, "repetitions": milliseconds, "flops_per_second": work / median}


def _with_own_store(run: Run | str) -> Run | str:
    """The run with a param store of its own, so that pairs of the same name do not meet."""
    if isinstance(run, str):
        return run
    state = {"params": {}, "constraints": {}}

    def scoped(steps: int) -> float | None:
        nonlocal state
        with pyro.get_param_store().scope(state) as state:
            return run(steps)

    return scoped


def table(rows: list[dict[str, Any]], rate: float) -> str:
    """The rows for people; times relative to a step of this library's fit."""
    lines = []
    for case, group in itertools.groupby(rows, key=lambda row: (row["network"], row["prior"], row["batch_size"])):
        members = list(group)
        by_method = {row["method"]: row for row in members}
        reference = by_method.get("pyro_vae, fit", members[0])["milliseconds"]
        for row in members:
            shown = [row.get("missing"), "", ""]
            if "missing" not in row:
                relative, fraction = row["milliseconds"] / reference, row["flops_per_second"] / rate
                shown = [f"{row['milliseconds']:.2f}", f"{relative:.2f}", f"{fraction:.0%}"]
            lines.append([*case, row["method"], *shown])
    headers = ["network", "prior", "batch", "method", "ms a step", "relative", "of product rate"]
    return tabulate(lines, headers, tablefmt="github", disable_numparse=True)


def figure(rows: list[dict[str, Any]], path: Path) -> None:
    """Time per step by method, one panel for each case, as an image for the README."""
    groups = itertools.groupby(rows, key=lambda row: (row["network"], row["prior"], row["batch_size"]))
    cases = {case: [row for row in members if "missing" not in row] for case, members in groups}
    rows_of_panels = math.ceil(len(cases) / 2)
    size = 11, 3.8 * rows_of_panels
    fig, axes = plt.subplots(rows_of_panels, min(len(cases), 2), figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat[len(cases) :]:
        axis.remove()
    for axis, (case, members) in zip(axes.flat, cases.items(), strict=False):
        members = sorted(members, key=lambda row: -row["milliseconds"])
        colours = ["tab:orange" if row["method"].startswith("pyro_vae") else "tab:gray" for row in members]
        bars = axis.barh([row["method"] for row in members], [row["milliseconds"] for row in members], color=colours)
        axis.bar_label(bars, fmt="%.1f", padding=2)
        axis.set_title("{}, {} prior, batch {}".format(*case), fontsize=10)
        axis.set_xlabel("ms a step")
        axis.margins(x=0.2)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(axis="y", labelsize=8)
    fig.savefig(path, dpi=150)
    plt.close(fig)


def main() -> None:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--smoke", action="store_true", help="see that it works, in seconds; the numbers mean nothing")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "results" / "step_time.json")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument("--priors", nargs="+", default=PRIORS, choices=PRIORS)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=BATCH_SIZES)
    parser.add_argument("--methods", nargs="+", metavar="METHOD", help="these alone, by their names in the table")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--warm-up", type=int, default=WARM_UP)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--figure", type=Path, help="write a figure of the times, such as step_time.png")
    settings = parser.parse_args()
    if unknown := set(settings.methods or ()) - methods("eager").keys():
        parser.error(f"Expected methods among {', '.join(methods('eager'))}; got {', '.join(sorted(unknown))}.")
    keep_freed_memory()
    if settings.smoke:
        settings.networks, settings.priors, settings.batch_sizes = ["mlp"], ["standard"], [4]
        settings.steps, settings.warm_up, settings.repetitions = 2, 4, 2
    device = torch.device(settings.device)
    warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
    warnings.filterwarnings("ignore", message="`torch.jit", category=FutureWarning)
    size, repetitions = (64, 2) if settings.smoke else (2048, 10)
    rates = {
        name: product_rate((size, size, size), device, dtype, repetitions=repetitions)
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))
    }
    about = {"command": f"python experiments/benchmarks/step_time.py {shlex.join(sys.argv[1:])}".strip()}
    about |= environment(device) | {"smoke": settings.smoke, "product_rate": rates}
    about["versions"] |= {name: version(name) for name in PEERS if importlib.util.find_spec(name)}
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for case in itertools.product(settings.networks, settings.priors, settings.batch_sizes):
        rows += measure(case, device, settings)
        print(f"{', '.join(map(str, case))} done", file=sys.stderr, flush=True)
        settings.out.write_text(json.dumps(about | {"rows": rows}, indent=2) + "\n")
    print(table(rows, rates["fp32"]))
    print(f"matrix products: {rates['fp32'] / 1e12:.2f} TFLOP/s in float32, {rates['bf16'] / 1e12:.2f} in bfloat16")
    if settings.figure:
        figure(rows, settings.figure)


if __name__ == "__main__":
    main()
