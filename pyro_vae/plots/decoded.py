"""Images that a pair makes: reconstructions, samples, and what chosen latents decode to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..arguments.at_least import at_least
from ..pairs.batch import Points
from ..pairs.modules import Callee
from ..uses.generate import Way, between, manifold, reconstruct, sample, traverse
from .charts import tidy
from .images import beside, check_images, image_grid, image_rows, images_among, picture, tile


def reconstructions(
    model: Callee, guide: Callee, x: Points, *, columns: int | None = None, seed: int | None = 0
) -> Figure:
    """Images, each with the mean of p(x|z) below, z from the guide.

    Args:
        model, guide: the pair.
        x: images (N, C, H, W).
        columns: images in a row; by default 8, and more of many images.
        seed: of the draws of z.

    Raises:
        ValueError: flat data.
    """
    check_images(images_among(x).shape)
    columns = min(len(x), columns or usual_columns(2 * len(x)))
    rows = beside(images_among(x), reconstruct(model, guide, x, seed=seed), columns=columns)
    return image_grid(rows, columns=columns, title="originals, reconstructions below")


def samples(model: Callee, like: Points, *, columns: int | None = None, seed: int | None = 0) -> Figure:
    """Means of p(x|z) for z from the prior.

    Args:
        model: p(x, z).
        like: any tensor of the wanted number and shape of images (N, C, H, W).
        columns: images in a row; by default 8, and more of many images.
        seed: of the draws of z.

    Raises:
        ValueError: flat data, or a prior that cannot be drawn from.
    """
    check_images(images_among(like).shape)
    columns = columns or usual_columns(len(like))
    return image_grid(sample(model, like, seed=seed)[1], columns=columns, title="samples, means of p(x|z)")


def usual_columns(count: int) -> int:
    """Images in a row: 8, and as many as there are rows where that is more."""
    return max(8, math.isqrt(count))


def traversals(
    model: Callee, guide: Callee, x: Points, *, dims: Sequence[int], steps: int = 9, limit: float = 3.0
) -> Figure:
    """One image with one latent dimension after the other moved, a row for each.

    Args:
        model, guide: the pair.
        x: the image (1, C, H, W).
        dims: latent dimensions; `most_varied` knows those that show something.
        steps: images in a row.
        limit: each goes from -limit to limit.

    Raises:
        ValueError: flat data, a latent dimension out of range, a limit of 0 or below, or latents that cannot be moved
            one by one.
    """
    check_images(images_among(x).shape)
    images = traverse(model, guide, x, dims=dims, values=_axis(limit, steps))
    return image_rows(
        {f"z[{dim}]": row for dim, row in zip(dims, images, strict=True)}, title=f"each z from {-limit:g} to {limit:g}"
    )


def interpolations(
    model: Callee, guide: Callee, start: Points, end: Points, *, steps: int = 10, path: Way = "linear"
) -> Figure:
    """The ways from images to other images, a row for each.

    Args:
        model, guide: the pair.
        start, end: images (N, C, H, W).
        steps: images in a row, both ends included.
        path: "linear" or "sphere", as in `interpolate`.

    Raises:
        ValueError: flat data, or fewer than two steps.
    """
    check_images(images_among(start).shape)
    images = between(model, guide, start, end, steps=steps, path=path).flatten(0, 1)
    way = {"linear": "a straight line", "sphere": "the sphere"}[path]
    return image_grid(images, columns=steps, title=f"from code to code along {way}")


def manifold_figure(
    model: Callee,
    guide: Callee,
    x: Points,
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

    Raises:
        ValueError: flat data, a latent dimension out of range or twice, a side of fewer than two images, a limit of 0
            or below, or latents that cannot be moved one by one.
    """
    shape = images_among(x).shape
    check_images(shape)
    at_least(2, side=side)
    quantiles = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(side) + 0.5) / side)
    coordinates = quantiles if limit is None else _axis(limit, side)
    images = manifold(model, guide, x, coordinates=coordinates, dims=dims)
    page = tile(images, columns=side, gap=0)
    figure = picture(page, title="decoded over a grid of latents", left=0.65, bottom=0.5)
    (axes,) = figure.axes
    axes.set_axis_on()
    width, height = shape[-1], shape[-2]
    ticks = sorted({0, side // 4, side - 1 - side // 4, side - 1} | ({side // 2} if side % 2 else set()))
    axes.set_xticks([(i + 0.5) * width for i in ticks], [f"{coordinates[i]:.1f}" for i in ticks])
    axes.set_yticks([(side - i - 0.5) * height for i in ticks], [f"{coordinates[i]:.1f}" for i in ticks])
    axes.set_xlabel(f"z[{dims[0]}]")
    axes.set_ylabel(f"z[{dims[1]}]")
    tidy(axes)
    return figure


def _axis(limit: float, steps: int) -> Tensor:
    if not 0 < limit < math.inf:
        raise ValueError(f"Expected a limit above 0, the axis goes from minus it to it; got {limit:g}.")
    return torch.linspace(-limit, limit, steps)
