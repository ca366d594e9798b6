"""Does a model of other images help where there are few? python experiments/uses/transfer.py RUN

A VAE for a thousand images of Fashion-MNIST, trained from first weights, from those of a run on MNIST, and from these
with the encoder or the decoder left as it is: log p(x) of test images after so many epochs.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import warnings
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter
from record import Record, trained

import pyro_vae
from pyro_vae import VAE, GaussianEncoder, HeavyTail, Run, StandardNormal, data, fit, log_marginal, plots

NUM_TRAIN, NUM_TEST, NUM_SAMPLES = 1000, 200, 500
EPOCHS = (1, 2, 5, 10, 20, 50)
FROZEN = {"first weights": None, "from the run": [], "decoder frozen": ["decoder"], "encoder frozen": ["encoder"]}


def main() -> None:
    """Train each way, evaluate on the way."""
    record = Record("transfer", __doc__.splitlines()[0], run=True)
    warnings.simplefilter("ignore", HeavyTail)  # counted in the record
    run = record.run("--likelihood", "DiscretizedLogistic", "--likelihood.levels", "17")
    few = run.data if record.smoke else data.load("fashion_mnist", record.chosen.root)
    protocol = f"{few.protocol}; trained on the first {NUM_TRAIN:,} images"
    few = dataclasses.replace(few, train=few.train[:NUM_TRAIN], labels=None, protocol=protocol)
    order = torch.randperm(len(few.test), generator=torch.Generator().manual_seed(0))
    test = few.test[order[: 10 if record.smoke else NUM_TEST]]
    epochs = EPOCHS[:1] if record.smoke else EPOCHS
    rows = [row for name, parts in FROZEN.items() for row in followed(run, name, parts, few.train, test, epochs)]
    record.figure(drawn(rows))
    settings = {"num_train": NUM_TRAIN, "num_test": len(test), "num_samples": NUM_SAMPLES}
    record.save(rows=rows, protocol=protocol, trained=trained(run), **settings)


def followed(
    run: Run, name: str, parts: list[str] | None, train: torch.Tensor, test: torch.Tensor, epochs: tuple[int, ...]
) -> list[dict[str, Any]]:
    """log p(x) of test images after each of these epochs; without parts, from first weights."""
    pair = first(run, train) if parts is None else copy.deepcopy(run.module).train()
    for part in parts or ():
        pair.get_submodule(part).requires_grad_(False)
    rows = []

    def evaluate(epoch: int) -> None:
        found = log_marginal(pair.model, pair.guide, test, num_samples=NUM_SAMPLES, estimator="guide")
        numbers = {"mean": found.mean.value, "standard_error": found.mean.standard_error}
        numbers["share_with_khat_above_0.7"] = (found.khat > 0.7).double().mean().item()
        rows.append({"start": name, "epoch": epoch, **numbers})
        print(rows[-1], flush=True)

    def on_step(step: int, metrics: dict[str, float]) -> None:
        if (epoch := int(metrics.get("epoch", 0))) in epochs:
            evaluate(epoch)

    fit(pair.model, pair.guide, train, epochs=epochs[-1], batch_size=50, on_step=on_step, device="cpu", progress=False)
    return rows


def first(run: Run, train: torch.Tensor) -> VAE:
    """The pair of a run as it starts, a `VAE` of a standard normal prior, for these images."""
    network, likelihood = (run.settings[part] for part in ("network", "likelihood"))
    make = functools.partial(getattr(pyro_vae, network["class_path"]), hidden=network["init_args"]["hidden"])
    torch.manual_seed(1)
    px = getattr(pyro_vae, likelihood["class_path"])(train.shape[1:], mean=train.mean(0), **likelihood["init_args"])
    dim = run.settings["latent_dim"]
    return VAE(
        StandardNormal(dim), GaussianEncoder(train.shape[1:], dim, network=make), make(dim, px.feature_shape), px
    )


def drawn(rows: list[dict[str, Any]]) -> Figure:
    """log p(x) against epochs, a line for each start."""
    figure = Figure(figsize=(4.6, 3.0), layout="constrained")
    axes = figure.subplots()
    for name in FROZEN:
        own = [row for row in rows if row["start"] == name]
        means, errors = ([row[key] for row in own] for key in ("mean", "standard_error"))
        axes.errorbar([row["epoch"] for row in own], means, errors, marker="o", markersize=3, label=name)
    axes.set_xscale("log")
    axes.set_xticks([row["epoch"] for row in rows if row["start"] == "first weights"])
    axes.minorticks_off()
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.set_xlabel("epochs")
    axes.set_ylabel("test log p(x), nats per image")
    axes.legend(frameon=False, fontsize=8)
    plots.tidy(axes)
    return figure


if __name__ == "__main__":
    main()
