"""Does a model of other images help where there are few? python experiments/uses/transfer.py RUN

A VAE for a hundred and for a thousand images of Fashion-MNIST, from first weights, from those of a run on MNIST, from
these but for the decoder's last layer, and with the encoder or the decoder left as it is: log p(x) of test images after
so many epochs. Test images are the same for all, and so their differences have small errors.
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
from record import Record, lines, trained

import pyro_vae
from pyro_vae import VAE, GaussianEncoder, HeavyTail, Run, StandardNormal, data, fit, log_marginal

NUM_TEST, NUM_SAMPLES, BATCH_SIZE = 24, 50, 50
EPOCHS = {100: (10, 30, 100), 1000: (1, 3, 10, 30)}  # by training images
FIRST = "first weights"
LAST_FIRST = "but for the last layer"
FROZEN = {FIRST: [], "from the run": [], LAST_FIRST: [], "encoder frozen": ["encoder"], "decoder frozen": ["decoder"]}


def main() -> None:
    """Train each way, evaluate on the way."""
    record = Record("transfer", __doc__.splitlines()[0], run=True)
    warnings.simplefilter("ignore", HeavyTail)  # counted in the record
    run = record.run("--likelihood", "DiscretizedLogistic", "--likelihood.levels", "17")
    whole = run.data if record.smoke else data.load("fashion_mnist", record.chosen.root)
    order = torch.randperm(len(whole.test), generator=torch.Generator().manual_seed(0))
    test = whole.test[order[: 10 if record.smoke else NUM_TEST]]
    plan = {100: (1, 2)} if record.smoke else EPOCHS
    rows: list[dict[str, Any]] = []
    for count, epochs in plan.items():
        few = dataclasses.replace(whole, train=whole.train[:count], labels=None, protocol=f"the first {count:,} images")
        compared: dict[int, torch.Tensor] = {}
        for start in FROZEN:
            for row in followed(run, start, few.train, test, epochs, compared):
                rows.append({"num_train": count, **row})
                print(rows[-1], flush=True)
    record.figure(drawn(rows))
    settings = {"num_test": len(test), "num_samples": NUM_SAMPLES, "batch_size": BATCH_SIZE}
    record.save(rows=rows, protocol=whole.protocol, trained=trained(run), **settings)


def followed(
    run: Run,
    start: str,
    train: torch.Tensor,
    test: torch.Tensor,
    epochs: tuple[int, ...],
    compared: dict[int, torch.Tensor],
) -> list[dict[str, Any]]:
    """log p(x) of test images after each of these epochs.

    By the default estimate: of few images a guide learns so little that samples from it alone are far off.
    """
    pair = started(run, start, train)
    for part in FROZEN[start]:
        pair.get_submodule(part).requires_grad_(False)
    rows = []

    def on_step(step: int, metrics: dict[str, float]) -> None:
        if (epoch := int(metrics.get("epoch", 0))) not in epochs:
            return
        found = log_marginal(pair.model, pair.guide, test, num_samples=NUM_SAMPLES)
        less = found.log_prob - compared.setdefault(epoch, found.log_prob)  # those of the first start
        numbers = {"mean": found.mean.value, "standard_error": found.mean.standard_error}
        numbers |= {"less_first": less.mean().item(), "less_first_error": less.std().item() / len(less) ** 0.5}
        numbers["share_with_khat_above_0.7"] = (found.khat > 0.7).double().mean().item()
        rows.append({"start": start, "epoch": epoch, **numbers})

    options = {"batch_size": BATCH_SIZE, "compile": False, "device": "cpu", "progress": False}
    fit(pair.model, pair.guide, train, epochs=epochs[-1], on_step=on_step, **options)
    return rows


def started(run: Run, start: str, train: torch.Tensor) -> VAE:
    """The pair that a training begins with: a `VAE` of a standard normal prior, for these images."""
    first = first_weights(run, train)
    if start == FIRST:
        return first
    pair = copy.deepcopy(run.module).train()
    if start == LAST_FIRST:
        pair.decoder.layers[-1] = first.decoder.layers[-1]
        pair.likelihood = first.likelihood
    return pair


def first_weights(run: Run, train: torch.Tensor) -> VAE:
    """The pair of a run as it starts."""
    network, likelihood = (run.settings[part] for part in ("network", "likelihood"))
    make = functools.partial(getattr(pyro_vae, network["class_path"]), hidden=network["init_args"]["hidden"])
    torch.manual_seed(1)
    px = getattr(pyro_vae, likelihood["class_path"])(train.shape[1:], mean=train.mean(0), **likelihood["init_args"])
    dim = run.settings["latent_dim"]
    return VAE(
        StandardNormal(dim), GaussianEncoder(train.shape[1:], dim, network=make), make(dim, px.feature_shape), px
    )


def drawn(rows: list[dict[str, Any]]) -> Figure:
    """log p(x) against epochs, a panel for each number of training images, a line for each start.

    A decoder that stays as it was lies far below, and so stands in the table alone.
    """
    counts = sorted({row["num_train"] for row in rows})
    figure = Figure(figsize=(0.6 + 3.2 * len(counts), 3.0), layout="constrained")
    for axes, count in zip(figure.subplots(1, len(counts), squeeze=False)[0], counts, strict=True):
        with lines(axes, f"epochs of {count:,} images", "test log p(x), nats per image"):
            for start in (each for each in FROZEN if each != "decoder frozen"):
                own = [row for row in rows if (row["start"], row["num_train"]) == (start, count)]
                axes.plot([r["epoch"] for r in own], [r["mean"] for r in own], marker="o", markersize=3, label=start)
            axes.set_xscale("log")
            axes.set_xticks([r["epoch"] for r in own])
            axes.minorticks_off()
            axes.xaxis.set_major_formatter(ScalarFormatter())
    return figure


if __name__ == "__main__":
    main()
