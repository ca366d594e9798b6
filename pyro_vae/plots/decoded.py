"""Images that a pair makes: reconstructions, samples, and what chosen latents decode to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..generate import Path, between, manifold, reconstruct, sample, traverse
from ..pairs import Callee
from .charts import tidy
from .images import beside, check_images, image_grid, image_rows, picture, tile


def reconstructions(model: Callee, guide: Callee, x: Tensor, *, columns: int = 8, seed: int = 0) -> Figure:
    """Images x (N, C, H, W), each with the mean of p(x|z) below, z from the guide."""
    check_images(x.shape)
    rows = beside(x, reconstruct(model, guide, x, seed=seed), columns=columns)
    return image_grid(rows, columns=columns, title="originals, reconstructions below")


def samples(model: Callee, like: Tensor, *, columns: int = 8, seed: int = 0) -> Figure:
    """As many draws as there are images in ``like`` (N, C, H, W): means of p(x|z) for z from the prior."""
    check_images(like.shape)
    return image_grid(sample(model, like, seed=seed)[1], columns=columns, title="samples, means of p(x|z)")


def traversals(
    model: Callee, guide: Callee, x: Tensor, *, dims: Sequence[int], steps: int = 9, limit: float = 3.0
) -> Figure:
    """One image x (1, C, H, W) with one latent dimension after the other moved from -limit to limit, a row for each."""
    check_images(x.shape)
    values = torch.linspace(-limit, limit, steps)
    images = traverse(model, guide, x, dims=dims, values=values)
    return image_rows(
        {f"z[{dim}]": row for dim, row in zip(dims, images, strict=True)}, title=f"each z from {-limit:g} to {limit:g}"
    )


def interpolations(
    model: Callee, guide: Callee, start: Tensor, end: Tensor, *, steps: int = 10, path: Path = "linear"
) -> Figure:
    """The ways from images to other images (N, C, H, W) each, a row for each pair; ``path`` "linear" or "sphere"."""
    check_images(start.shape)
    images = between(model, guide, start, end, steps=steps, path=path).flatten(0, 1)
    return image_grid(images, columns=steps, title=f"decoded on the way between two codes, {path}")


def manifold_figure(
    model: Callee,
    guide: Callee,
    x: Tensor,
    *,
    side: int = 20,
    dims: tuple[int, int] = (0, 1),
    limit: float | None = None,
) -> Figure:
    """Images decoded over a grid of two latent dimensions, the others at the mean code of images x (N, C, H, W).

    Args:
        model, guide: the pair.
        x: images.
        side: images on each axis.
        dims: dimensions of the horizontal and of the vertical axis.
        limit: an even grid from -limit to limit; by default quantiles of the standard normal, so that each image
            stands for the same prior mass.
    """
    check_images(x.shape)
    if side < 2:
        raise ValueError(f"Expected a side of at least 2 images; got {side}.")
    probabilities = (torch.arange(side) + 0.5) / side
    even = None if limit is None else torch.linspace(-limit, limit, side)
    coordinates = torch.distributions.Normal(0.0, 1.0).icdf(probabilities) if even is None else even
    images = manifold(model, guide, x, coordinates=coordinates, dims=dims)
    page = tile(images, columns=side, gap=0)
    figure = picture(page, title="decoded over a grid of latents", left=0.65, bottom=0.5)
    (axes,) = figure.axes
    axes.set_axis_on()
    width, height = x.shape[-1], x.shape[-2]
    ticks = sorted({0, side // 4, side - 1 - side // 4, side - 1} | ({side // 2} if side % 2 else set()))
    axes.set_xticks([(i + 0.5) * width for i in ticks], [f"{coordinates[i]:.1f}" for i in ticks])
    axes.set_yticks([(side - i - 0.5) * height for i in ticks], [f"{coordinates[i]:.1f}" for i in ticks])
    axes.set_xlabel(f"z[{dims[0]}]")
    axes.set_ylabel(f"z[{dims[1]}]")
    tidy(axes)
    return figure
