"""What is a model of whole images worth for damaged ones? python experiments/uses/restoration.py RUN

Test images with noise, with pixels left out, without their lower half, and with coarse pixels, restored by a trained
VAE that has never seen damage (samples of its posterior, and their mean), by autoencoders trained for this very damage,
and by classical methods of scikit-image, whose strength is chosen on validation images. Error, SSIM and, where pixels
are missing, log p of the missing ones given the others.
"""

from __future__ import annotations

import copy
import math
import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from record import Record, trained
from skimage.metrics import structural_similarity
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle, inpaint_biharmonic
from skimage.transform import resize
from torch import Tensor, nn
from torch.nn import functional

from pyro_vae import (
    Denoising,
    GatedMLP,
    HeavyTail,
    Inpainting,
    Restoration,
    SuperResolution,
    missing_log_prob,
    plots,
    restore,
)

COUNT, SHOWN = 24, 3  # images restored, and of these in the figure
NOISE, LEFT_OUT, FACTOR = 0.2, 0.7, 4
STEPS, BATCH, CODE = 2500, 100, 100  # of the autoencoders
STRENGTHS = {"non-local means": (0.4, 0.6, 0.8, 1.0), "total variation": (0.05, 0.1, 0.15, 0.2, 0.3)}


@dataclass(frozen=True)
class Damage:
    """One kind of damage: what is observed of x, and by which observation model."""

    name: str
    observation: Any
    apply: Callable[[Tensor, torch.Generator], Tensor]  # y of x (N, C, H, W)


def lower_half(x: Tensor) -> Tensor:
    """Where it is, bool."""
    return (torch.arange(x.shape[-2]) >= x.shape[-2] // 2)[:, None].expand(x.shape)


def share_of(x: Tensor, draws: torch.Generator) -> Tensor:
    """Pixels chosen at random, bool."""
    return torch.rand(x.shape, generator=draws) < LEFT_OUT


COARSE = SuperResolution(FACTOR)
DAMAGES = (
    Damage(f"noise {NOISE:g}", Denoising(NOISE), lambda x, draws: x + NOISE * torch.randn(x.shape, generator=draws)),
    Damage(f"{LEFT_OUT:.0%} missing", Inpainting(), lambda x, draws: torch.where(share_of(x, draws), torch.nan, x)),
    Damage("half missing", Inpainting(), lambda x, draws: torch.where(lower_half(x), torch.nan, x)),
    Damage(f"{FACTOR} x {FACTOR} pixels", COARSE, lambda x, draws: COARSE.reduced(x)),
)


def main() -> None:
    """Damage, restore, compare."""
    record = Record("restoration", __doc__.splitlines()[0], run=True)
    warnings.simplefilter("ignore", HeavyTail)  # counted in the record
    run = record.run("--likelihood", "DiscretizedLogistic", "--likelihood.levels", "17")
    draws = torch.Generator().manual_seed(0)
    count = 4 if record.smoke else COUNT
    x, held_out = (part[torch.randperm(len(part), generator=draws)[:count]] for part in run.data.splits[:0:-1])
    steps = 5 if record.smoke else STEPS
    rows: list[dict[str, Any]] = []
    pictures: dict[str, list[Tensor]] = {}
    for damage in DAMAGES:
        y, damaged_too = damage.apply(x, draws), damage.apply(held_out, draws)
        open_ = y.isnan() if y.shape == x.shape and y.isnan().any() else torch.ones_like(x, dtype=torch.bool)
        found: dict[str, tuple[Tensor, dict[str, Any]]] = {}
        result = restore(run.model, run.guide, y, damage.observation, num_transitions=2 if record.smoke else 50)
        about: dict[str, Any] = {
            "median_ess": result.ess.median().item(),
            "acceptance": result.acceptance.mean().item(),
        }
        if not open_.all():
            estimate = missing_log_prob(run.model, run.guide, x, open_, num_samples=20 if record.smoke else 1000)
            about |= {
                "log_prob": [estimate.mean.value, estimate.mean.standard_error],
                "unreliable": (estimate.khat > 0.7).double().mean().item(),
            }
        found["VAE, mean"] = result.mean, about
        found["VAE, one sample"] = result.samples[:, 0], {}
        found |= autoencoders(run, damage, x, y, open_, steps)
        found |= classical(damage, y, held_out, damaged_too)
        rows += [
            {"damage": damage.name, "method": name, **compared(image.clamp(0, 1), x, open_), **about}
            for name, (image, about) in found.items()
        ]
        for row in rows[-len(found) :]:
            print(row, flush=True)
        add_pictures(pictures, damage, x, y, result, {name: image for name, (image, _) in found.items()})
    names = [name for damage in DAMAGES for name in ("", damage.name, "")]
    record.figure(plots.image_rows({name: torch.cat(parts) for name, parts in pictures.items()}, columns=names))
    record.save(rows=rows, count=count, steps=steps, trained=trained(run))


def add_pictures(
    pictures: dict[str, list[Tensor]], damage: Damage, x: Tensor, y: Tensor, result: Restoration, found: dict[str, Any]
) -> None:
    """The first images of a damage, a row for the original, what was known, and each restoration."""
    known = y if y.shape == x.shape else damage.observation.enlarged(y)
    rows = {"original": x, "damaged": known, "VAE, mean": result.mean}
    rows |= {f"VAE, sample {i + 1}": result.samples[:, i] for i in range(2)}
    rows["autoencoder"] = found["autoencoder, squared error"]
    rows["scikit-image"] = [*found.values()][-1]
    for name, images in rows.items():
        pictures.setdefault(name, []).append(images[:SHOWN].clamp(0, 1))


def compared(found: Tensor, x: Tensor, open_: Tensor) -> dict[str, Any]:
    """Squared error of the values that were open, and SSIM of whole images: means over images with their errors."""
    off = [(a - b)[where].square().mean().item() for a, b, where in zip(found, x, open_, strict=True)]
    images = zip(found[:, 0].numpy(), x[:, 0].numpy(), strict=True)
    ssim = [float(structural_similarity(a, b, data_range=1.0)) for a, b in images]
    return {"squared_error": mean_and_error(off), "ssim": mean_and_error(ssim)}


def mean_and_error(values: list[float]) -> list[float]:
    """Of values of single images."""
    return [statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values))]


def autoencoders(
    run: Any, damage: Damage, x: Tensor, y: Tensor, open_: Tensor, steps: int
) -> dict[str, tuple[Tensor, dict[str, Any]]]:
    """Networks from damaged to whole images, trained on this damage: by squared error, and by the run's likelihood."""
    guess = damage.observation.guess(y)
    plain = taught(run, damage, steps, x.shape[1:], lambda h, x: functional.mse_loss(h, x))
    px = copy.deepcopy(run.module.likelihood)
    likely = taught(run, damage, steps, px.feature_shape, lambda h, x: -px(h).log_prob(x).mean() / x[0].numel())
    with torch.no_grad():
        given = px(likely(guess))
        each = given.base_dist.log_prob(x)
        about: dict[str, Any] = {}
        if not open_.all():
            about["log_prob"] = mean_and_error((each * open_).flatten(1).sum(1).tolist())
        found = {"autoencoder, squared error": (plain(guess), {}), "autoencoder, likelihood": (given.mean, about)}
    known = ~open_
    return {name: (torch.where(known, x, image), about) for name, (image, about) in found.items()}


def taught(run: Any, damage: Damage, steps: int, shape: Any, loss: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
    """An autoencoder that has learned to undo damage, drawn anew at each step; learning rate to 0 by cosine."""
    torch.manual_seed(0)
    draws = torch.Generator().manual_seed(1)
    train = run.data.train
    network = nn.Sequential(GatedMLP(train.shape[1:], CODE), nn.ReLU(), GatedMLP(CODE, shape))
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(steps):
        x = train[torch.randint(len(train), (BATCH,), generator=draws)]
        loss(network(damage.observation.guess(damage.apply(x, draws))), x).backward()
        optimizer.step()
        optimizer.zero_grad()
        rate.step()
    return network


def classical(damage: Damage, y: Tensor, held_out: Tensor, damaged_too: Tensor) -> dict[str, Any]:
    """What needs no training."""
    if isinstance(damage.observation, Denoising):
        found: dict[str, Any] = {}
        for name, strengths in STRENGTHS.items():
            tried = {s: (denoised(name, damaged_too, s) - held_out).square().mean().item() for s in strengths}
            best = min(tried, key=tried.__getitem__)
            found[name] = denoised(name, y, best), {"strength": best}
        return found
    if isinstance(damage.observation, Inpainting):
        return {"biharmonic": (each(lambda image: inpaint_biharmonic(np.nan_to_num(image), np.isnan(image)), y), {})}
    return {"bicubic": (each(lambda image: resize(image, held_out.shape[-2:], order=3), y), {})}


def denoised(name: str, y: Tensor, strength: float) -> Tensor:
    """By a method of scikit-image, which is told the noise where it asks."""
    if name == "total variation":
        return each(lambda image: denoise_tv_chambolle(image, weight=strength), y)
    known = {"patch_size": 5, "patch_distance": 6, "sigma": NOISE}
    return each(lambda image: denoise_nl_means(image, h=strength * NOISE, **known), y)


def each(change: Callable[[np.ndarray], np.ndarray], images: Tensor) -> Tensor:
    """Images (N, 1, H, W), one at a time."""
    return torch.stack([torch.from_numpy(np.asarray(change(image.numpy()))).float() for image in images[:, 0]])[:, None]


if __name__ == "__main__":
    main()
