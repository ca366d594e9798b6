"""Which score tells anomalies? A digit left out of training, damaged images, and other images, by seven scores.

python experiments/evidence/anomalies.py
python experiments/evidence/anomalies.py --data mnist --root data

Small VAEs of grey images (discretized logistic likelihood) are trained on a set and on the set without one digit; each
with two more seeds, for WAIC, and with a background model, trained on the same images with a fifth of the pixels
replaced by noise. Normal data are test images; anomalies are those of the digit left out, or the same test images
damaged. With --data mnist, MNIST and Fashion-MNIST are each other's anomalies, for a model of each. Models that were
trained before are taken from --models.
"""

from __future__ import annotations

import dataclasses
import itertools
import warnings
from pathlib import Path
from typing import Any

import torch
from matplotlib import colormaps
from matplotlib.figure import Figure
from setting import parsed, parser, save, timed
from torch import Tensor

from pyro_vae import (
    VAE,
    DiscretizedLogistic,
    Fit,
    GatedMLP,
    GaussianEncoder,
    HeavyTail,
    StandardNormal,
    data,
    detect,
    fit,
    plots,
    score,
)

LEFT_OUT = 1
REPLACED = 0.2  # share of pixels that are noise for a background model
SEEDS = (0, 1, 2)
FULL = {
    "digits": {"train": 1_197, "epochs": 60, "test": 100, "scored": 100, "samples": 100, "latents": 8, "width": 64},
    "mnist": {"train": 10_000, "epochs": 10, "test": 100, "scored": 40, "samples": 50, "latents": 20, "width": 200},
}
SMOKE = {"train": 60, "epochs": 1, "test": 6, "scored": 6, "samples": 5, "latents": 3, "width": 8}


def trained(kind: str, dataset: data.Data, sizes: dict[str, int], models: Path, seed: int) -> tuple[Any, Any]:
    """A pair trained on a data set, or loaded where it has been."""
    torch.manual_seed(seed)
    width, latents, shape = sizes["width"], sizes["latents"], dataset.event_shape
    px = DiscretizedLogistic(shape, levels=dataset.levels, min_scale=0.1, mean=dataset.train.mean(0))
    encoder = GaussianEncoder(shape, latents, network=lambda i, o: GatedMLP(i, o, hidden=(width,)))
    vae = VAE(StandardNormal(latents), encoder, GatedMLP(latents, px.feature_shape, hidden=(width,)), px)
    folder = models / f"{kind}-{seed}"
    if (folder / "fit.json").exists():
        Fit.load(folder, vae.model, vae.guide)
    else:
        fit(vae.model, vae.guide, dataset, epochs=sizes["epochs"], device="cpu", progress=False).save(folder)
        print(f"trained {kind}, seed {seed}", flush=True)
    return vae.model, vae.guide


def some(dataset: data.Data, sizes: dict[str, int], *, without: int | None = None) -> data.Data:
    """The first images of a set that is in random order, without those of a label; no labels."""
    kept = {}
    for part, x in dataset.splits._asdict().items():
        labels = getattr(dataset.labels, part)
        count = sizes["train" if part == "train" else "test"]
        kept[part] = x[labels != without][:count] if without is not None else x[:count]
    return dataclasses.replace(dataset, **kept, labels=None)


def perturbed(dataset: data.Data) -> data.Data:
    """The same images with a share of the pixels replaced by noise."""
    draws = torch.Generator().manual_seed(0)

    def noisy(x: Tensor) -> Tensor:
        noise = torch.randint(dataset.levels, x.shape, generator=draws) / (dataset.levels - 1)
        return torch.where(torch.rand(x.shape, generator=draws) < REPLACED, noise, x)

    parts = {part: noisy(x) for part, x in dataset.splits._asdict().items()}
    return dataclasses.replace(dataset, **parts)


def damaged(x: Tensor, how: str, levels: int) -> Tensor:
    """Images on their levels after damage."""
    if how == "blurred":
        x = torch.nn.functional.avg_pool2d(x, 3, 1, 1)
    elif how == "dimmed":
        x = x / 2
    else:
        draws = torch.Generator().manual_seed(1)
        x = torch.where(torch.rand(x.shape, generator=draws) < 0.02, 1 - x, x)
    return (x * (levels - 1)).round() / (levels - 1)


def cases(chosen: Any, sizes: dict[str, int]) -> Any:
    """Name, what it is trained on, normal test data, anomalies."""
    names = ("mnist", "fashion_mnist") if chosen.data == "mnist" else ("digits",)
    sets = {name: data.load(name, chosen.root) for name in names}
    whole = {name: some(dataset, sizes) for name, dataset in sets.items()}
    if len(whole) > 1:
        for name, other in itertools.permutations(whole, 2):
            yield f"{other.replace('_', ' ')} for {name.replace('_', ' ')}", name, whole[name], whole[other].test
        return
    digits, own = sets["digits"], whole["digits"]
    left_out = digits.test[digits.labels.test == LEFT_OUT][: sizes["test"]]
    without = some(digits, sizes, without=LEFT_OUT)
    yield f"digit {LEFT_OUT}, left out of digits", f"digits-without-{LEFT_OUT}", without, left_out
    for how in ("flipped",) if chosen.smoke else ("flipped", "blurred", "dimmed"):
        yield f"{how} digits", "digits", own, damaged(own.test, how, own.levels)


def picture(rows: list[dict[str, Any]]) -> Figure:
    """The area under the ROC curve of each score, with its interval, a row for each kind of anomalies."""
    figure = Figure(figsize=(6.9, 0.55 + 0.62 * len(rows)), layout="constrained")
    axes = figure.subplots()
    names = list(rows[0]["detection"])
    for i, name in enumerate(names):
        places = [place + 0.09 * (i - (len(names) - 1) / 2) for place in range(len(rows))]
        found = [row["detection"][name]["auc"] for row in rows]
        colour = colormaps["tab10"](i)
        axes.hlines(places, [auc["low"] for auc in found], [auc["high"] for auc in found], color=colour, linewidth=1)
        axes.scatter([auc["value"] for auc in found], places, color=colour, s=12, label=name.replace("_", " "))
    axes.axvline(0.5, color=plots.GREY, linewidth=1)
    axes.set_yticks(range(len(rows)), [row["anomalies"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("area under the ROC curve; below 1/2, anomalies look more normal than normal data")
    axes.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    plots.tidy(axes)
    return figure


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--data", choices=list(FULL), default="digits", help="which images")
    options.add_argument("--root", default="data", help="folder of the data sets")
    options.add_argument("--models", type=Path, help="folder of the trained models; by default in runs")
    chosen = parsed(options, "anomalies")
    sizes = SMOKE if chosen.smoke else FULL[chosen.data]
    models = chosen.models or (chosen.out.parent if chosen.smoke else Path("runs")) / f"anomalies-{chosen.data}"
    warnings.simplefilter("ignore", HeavyTail)  # told by the share of each case
    rows, protocols = [], {}
    with timed() as seconds:
        for name, kind, dataset, anomalies in cases(chosen, sizes):
            protocols[kind] = dataset.protocol
            seeds = [trained(kind, dataset, sizes, models, seed) for seed in SEEDS[: 2 if chosen.smoke else 3]]
            background = trained(f"{kind}-background", perturbed(dataset), sizes, models, 0)
            normal, unlike = dataset.test[: sizes["scored"]], anomalies[: sizes["scored"]]
            points = torch.cat([normal, unlike])
            anomalous = torch.arange(len(points)) >= len(normal)
            scores = score(
                *seeds[0],
                points,
                reference=dataset.validation[: sizes["scored"]],
                background=background,
                others=seeds[1:],
                num_samples=sizes["samples"],
            )
            found = detect(scores.scores, anomalous)
            shares = [scores.unreliable[anomalous == kind].double().mean().item() for kind in (False, True)]
            rows.append(
                {"anomalies": name, "unreliable": shares, "detection": {n: d.to_json() for n, d in found.items()}}
            )
            print(name, {score: str(each.auc) for score, each in found.items()}, flush=True)
    picture(rows).savefig(chosen.out.with_suffix(".png"), dpi=200)
    save(chosen, {"sizes": sizes, "protocols": protocols, "rows": rows, **seconds})


if __name__ == "__main__":
    main()
