"""Bytes of an image against its error: rounded codes of VAEs, beside JPEG and WebP.

python experiments/evidence/lossy_compression.py --runs RUN... --root data

Runs are those of 8-bit grey images, of several latent sizes. All images of a step are in one file; JPEG and WebP get
them as one sheet, as a file of each would be mostly header. PSNR is of all images together, SSIM the mean over images.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from setting import parsed, parser, save
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from pyro_vae import (
    VAE,
    DiscretizedLogistic,
    GatedMLP,
    GaussianEncoder,
    StandardNormal,
    compress_lossy,
    decompress_lossy,
    load,
    plots,
)

STEPS = (0.5, 1.0, 2.0, 4.0, 8.0)
QUALITIES = (0, 5, 10, 20, 35, 50, 75, 90)


def quality(found: Tensor, x: Tensor) -> dict[str, float]:
    """PSNR in dB and SSIM of images of uint8, (N, 1, H, W)."""
    error = (found.double() - x).square().mean().item()
    ssim = structural_similarity_index_measure(found.double(), x.double(), data_range=255.0, kernel_size=7)
    return {"psnr": 10 * math.log10(255**2 / error) if error else math.inf, "ssim": float(ssim)}


def codec(form: str, level: int, x: Tensor) -> dict[str, Any]:
    """One sheet of all images in a format of Pillow, at a quality."""
    columns = 16
    padded = torch.cat([x, x[:1].expand(-len(x) % columns, *x.shape[1:])])[:, 0]  # (N, H, W)
    height, width = padded.shape[1:]
    sheet = padded.reshape(-1, columns, height, width).transpose(1, 2).reshape(-1, columns * width)
    file = io.BytesIO()
    Image.fromarray(sheet.numpy()).save(file, form, quality=level)
    back = torch.from_numpy(np.array(Image.open(file).convert("L"))).reshape(-1, height, columns, width)
    found = back.transpose(1, 2).reshape(-1, 1, height, width)[: len(x)]
    return {"method": form, "setting": level, "bytes": len(file.getvalue()) / len(padded), **quality(found, x)}


def rows_of(vae: Any, x: Tensor, steps: Sequence[float]) -> Iterator[dict[str, Any]]:
    """Sizes and errors of a model at several steps."""
    for step in steps:
        file = compress_lossy(vae.model, vae.guide, x, step=step)
        found = decompress_lossy(vae.model, vae.guide, file)
        yield {"method": "VAE", "setting": step, "bytes": len(file) / len(x), **quality(found, x)}


def noise_vae() -> tuple[VAE, Tensor]:
    """A model and images to try this with."""
    px = DiscretizedLogistic((1, 16, 16))
    vae = VAE(StandardNormal(2), GaussianEncoder((1, 16, 16), 2), GatedMLP(2, px.feature_shape), px)
    return vae, torch.randint(0, 256, (40, 1, 16, 16)).to(torch.uint8)


def drawn(panels: list[dict[str, Any]]) -> Figure:
    """PSNR and SSIM against bytes, a row for each data set, a line for each latent size and each codec."""
    names = list(dict.fromkeys(panel["data"] for panel in panels))
    figure = Figure(figsize=(6.9, 0.3 + 2.5 * len(names)), layout="constrained")
    grid = figure.subplots(len(names), 2, squeeze=False)
    for name, both in zip(names, grid, strict=True):
        own = [panel for panel in panels if panel["data"] == name]
        lines = {
            f"VAE, {panel['latents']} latents": [r for r in panel["rows"] if r["method"] == "VAE"] for panel in own
        }
        lines |= {form: [row for row in own[0]["rows"] if row["method"] == form] for form in ("JPEG", "WebP")}
        for axes, number, label in zip(both, ("psnr", "ssim"), ("PSNR, dB", "SSIM"), strict=True):
            for line, rows in lines.items():
                style = {"color": "black", "ls": ":" if line == "JPEG" else "--"} if "VAE" not in line else {}
                places = [row["bytes"] for row in rows], [row[number] for row in rows]
                axes.plot(*places, marker="o", markersize=3, label=line, **style)
            axes.set_xscale("log")
            axes.set_xlabel("bytes an image")
            axes.set_ylabel(label)
            axes.set_title(name.replace("_", " "), fontsize=9)
            plots.tidy(axes)
        both[0].legend(frameon=False, fontsize=7)
    return figure


def main() -> None:
    """Compress, compare, save."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--runs", nargs="*", default=[], help="folders of runs")
    options.add_argument("--root", default="data", help="folder of the data sets")
    options.add_argument("--count", type=int, default=200, help="images of each, or all test images")
    chosen = parsed(options, "lossy_compression")
    panels = []
    for run in ["noise"] if chosen.smoke else chosen.runs:
        if chosen.smoke:
            vae, x, about = *noise_vae(), {"data": "noise", "latents": 2}
        else:
            vae = load(run, root=chosen.root, device="cpu")
            x = (vae.data.test[: chosen.count] * 255).round().to(torch.uint8)
            about = {"data": vae.data.name, "protocol": vae.data.protocol, "latents": vae.settings["latent_dim"]}
            words = vae.about["command"].split()  # without folders of this machine
            about["trained"] = " ".join(Path(word).name if word.startswith("/") else word for word in words)
        rows = [*rows_of(vae, x, STEPS[:2] if chosen.smoke else STEPS)]
        rows += [codec(form, level, x) for form in ("JPEG", "WebP") for level in QUALITIES]
        panels.append({**about, "images": len(x), "rows": rows})
        print(panels[-1])
    drawn(panels).savefig(chosen.out.with_suffix(".png"), dpi=200)
    save(chosen, {"panels": panels})


if __name__ == "__main__":
    main()
