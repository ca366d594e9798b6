"""Images that a pair makes: reconstructions, samples, and what chosen latents decode to.

``model`` and ``guide`` are the pair, ``x`` images (N, C, H, W) or several inputs that hold them, and ``title`` stands
above what a figure shows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor

from ..arguments.at_least import at_least
from ..pairs.batch import Points
from ..pairs.modules import Callee
from ..uses.directions import along
from ..uses.generate import reconstruct, sample
from ..uses.latent_walks import Way, between, manifold, prior_quantiles, traverse
from .charts import tidy
from .images import (
    beside,
    check_images,
    column_places,
    full_rows,
    image_grid,
    image_rows,
    images_among,
    picture,
    tile,
    usual_gap,
)

LEGIBLE = 28  # pixels


def reconstructions(
    model: Callee, guide: Callee, x: Points, *, columns: int | None = None, seed: int | None = 0, title: str = ""
) -> Figure:
    """Images x (N, C, H, W), each with the mean of p(x|z) below (a draw where it has none), z from the guide.

    Args:
        columns: images in a row; by default so many that the rows are full.
        seed: of the draws of z.

    Raises:
        ValueError: flat data.
    """
    originals = images_among(x)
    columns = min(len(x), columns or full_rows(len(x), ideal=max(8.0, math.sqrt(2 * len(x)))))
    rows = beside(originals, images_in(reconstruct(model, guide, x, seed=seed), originals), columns=columns)
    missing = "; orange: missing" if originals.isnan().any() else ""
    return image_grid(rows, columns=columns, title=_lines(title, f"originals, reconstructions below{missing}"))


def samples(
    model: Callee,
    like: Points,
    *,
    columns: int | None = None,
    temperature: float = 1.0,
    truncation: float | None = None,
    seed: int | None = 0,
    title: str = "",
) -> Figure:
    """Means of p(x|z) for z from the prior; draws of x, which the figure says, where p(x|z) has no mean.

    Args:
        like: any tensor of the wanted number and shape of images (N, C, H, W).
        columns: images in a row; by default so many that the rows are full.
        temperature, truncation: of the latents, see `sample`; the figure says them.
        seed: of the draws of z.

    Raises:
        ValueError: flat data, or a prior that cannot be drawn from.
    """
    shape_of = images_among(like)
    columns = columns or full_rows(len(like), ideal=max(8.0, math.sqrt(len(like))))
    noise: dict[str, Any] = {"temperature": temperature, "truncation": truncation}
    draws, means = (images_in(data, shape_of) for data in sample(model, like, seed=seed, **noise))
    what = "draws of x" if torch.equal(draws, means) else "means of p(x|z)"
    return image_grid(means, columns=columns, title=_lines(title, f"{what}, z from the prior{said_noise(**noise)}"))


def said_noise(*, temperature: float, truncation: float | None) -> str:
    """What stands behind a prior of other noise in words; nothing behind one as it is."""
    parts = [f" at temperature {temperature:g}"] if temperature != 1 else []
    parts += [f" within {truncation:g} scales of its means"] if truncation is not None else []
    return ",".join(parts)


def traversals(
    model: Callee, guide: Callee, x: Points, *, dims: Sequence[int], steps: int = 9, limit: float = 3.0, title: str = ""
) -> Figure:
    """What one latent after the other does to an image: a row for each, its value growing from left to right.

    The first row holds the image itself and the mean of p(x|z) at its code.

    Args:
        x: one image (1, C, H, W).
        dims: latent dimensions.
        steps: images in a row, two or more.
        limit: each dimension goes from -limit to limit.

    Raises:
        ValueError: flat data, a latent dimension out of range, a limit of 0 or below, or latents that cannot be moved
            one by one.
    """
    original = images_among(x)
    at_least(2, steps=steps)
    values = _axis(limit, steps)
    images = images_in(traverse(model, guide, x, dims=dims, values=values), original, dims=2)
    code = images_in(between(model, guide, x, x, steps=2), original, dims=2)[0, :1]
    blank = original.new_ones(steps - 2, *original.shape[1:])
    rows = {"x, its mean": torch.cat([original, code, blank])} | {
        f"z[{dim}]": row for dim, row in zip(dims, images, strict=True)
    }
    labels = [f"{value:.2g}" for value in values.tolist()]
    what = "each z moved to the values below"
    return image_rows(rows, columns=labels, title=_lines(title, what))


def interpolations(
    model: Callee, guide: Callee, start: Points, end: Points, *, steps: int = 10, path: Way = "linear", title: str = ""
) -> Figure:
    """The ways from images to other images, a row for each, the two images themselves at its ends.

    Args:
        start, end: images (N, C, H, W).
        steps: images on the way, from code to code.
        path: "linear" or "sphere", as in `interpolate`.

    Raises:
        ValueError: flat data, or fewer than two steps.
    """
    first, last = images_among(start), images_among(end)
    ways = images_in(between(model, guide, start, end, steps=steps, path=path), first, dims=2)
    rows = torch.cat([first[:, None], ways, last[:, None]], 1)
    way = {"linear": "a straight line", "sphere": "the sphere"}[path]
    page = tile(rows.flatten(0, 1), columns=steps + 2, apart=(1, steps + 1))
    return picture(page, title=_lines(title, f"images, and between them their codes along {way}"))


def attribute_walks(
    model: Callee, guide: Callee, x: Points, direction: Tensor, *, amounts: Tensor, what: str = "", title: str = ""
) -> Figure:
    """Images x (N, C, H, W) along a direction of their codes, a row for each, the image itself on the left.

    Args:
        direction: (D,), see `attribute_direction`.
        amounts: (S,), in lengths of the direction.
        what: what the direction stands for.

    Raises:
        ValueError: flat data, or as `along`.
    """
    originals = images_among(x)
    ways = images_in(along(model, guide, x, direction, amounts=amounts), originals, dims=2)
    page = tile(torch.cat([originals[:, None], ways], 1).flatten(0, 1), columns=1 + len(amounts), apart=(1,))
    moved = f"moved by {amounts[0]:g} to {amounts[-1]:g} of the direction {what}".rstrip()
    return picture(page, title=_lines(title, f"images, and their codes {moved}"))


def beside_nearest(draws: Tensor, nearest: Tensor, *, across: int, title: str = "") -> Figure:
    """Draws, each with the data points that are nearest to it on its right.

    Args:
        draws: (N, C, H, W).
        nearest: (N, K, C, H, W), the nearest first.
        across: how many of the draws stand in a row.
        title: of the figure.

    Raises:
        ValueError: flat data.
    """
    check_images(draws.shape)
    count = 1 + nearest.shape[1]
    blank = -len(draws) % across
    blocks = torch.cat([draws[:, None], nearest], 1)
    blocks = torch.cat([blocks, blocks.new_ones(blank, *blocks.shape[1:])])
    apart = tuple(range(count, count * across, count))
    return picture(tile(blocks.flatten(0, 1), columns=count * across, apart=apart), title=title)


def manifold_figure(
    model: Callee,
    guide: Callee,
    x: Points,
    *,
    side: int = 20,
    dims: tuple[int, int] = (0, 1),
    limit: float | None = None,
    title: str = "",
) -> Figure:
    """Images decoded over a grid of two latent dimensions, the others at the mean code of images x (N, C, H, W).

    Args:
        side: images on each axis.
        dims: dimensions of the horizontal and of the vertical axis.
        limit: an even grid from -limit to limit; by default quantiles of the prior as it was trained, so that each row
            and each column stands for the same prior mass.

    Raises:
        ValueError: flat data, a latent dimension out of range or twice, a side of fewer than two images, a limit of 0
            or below, or latents that cannot be moved one by one.
    """
    like = images_among(x)
    at_least(2, side=side)
    if limit is None:
        middles = (torch.arange(side) + 0.5) / side
        coordinates = prior_quantiles(model, x, dims=dims, probabilities=middles).cpu()
        scale = "quantiles of its prior"
    else:
        coordinates, scale = _axis(limit, side).expand(2, -1), "even steps"
    images = images_in(manifold(model, guide, x, coordinates=coordinates, dims=dims), like)
    larger = max(1, LEGIBLE // like.shape[-2])  # times, so that the line between small images is not as wide as they
    images = images.repeat_interleave(larger, -1).repeat_interleave(larger, -2)
    gap = usual_gap(images.shape[-2])
    page, text = tile(images, columns=side, gap=gap), _lines(title, "the other latents at the mean code")
    figure = picture(page, title=text, left=0.5, bottom=0.42)
    (axes,) = figure.axes
    axes.set_axis_on()
    ticks = sorted({0, side // 4, side - 1 - side // 4, side - 1} | ({side // 2} if side % 2 else set()))
    places = [[at + size / 2 for at in column_places(side, size, gap)] for size in (images.shape[-1], images.shape[-2])]
    across, upwards = coordinates.tolist()
    axes.set_xticks([places[0][i] for i in ticks], [f"{across[i]:.1f}" for i in ticks])
    axes.set_yticks([places[1][side - 1 - i] for i in ticks], [f"{upwards[i]:.1f}" for i in ticks])
    axes.set_xlabel(f"z[{dims[0]}], {scale}", fontsize=8, labelpad=2)
    axes.set_ylabel(f"z[{dims[1]}], {scale}", fontsize=8, labelpad=2)
    tidy(axes)
    return figure


def images_in(data: Any, like: Tensor, *, dims: int = 1) -> Tensor:
    """The data of the one site of images among several, of the shape of those given; those of one site as they are."""
    if isinstance(data, Tensor):
        return data
    fitting = [values for values in data.values() if values.shape[dims:] == like.shape[1:]]
    if len(fitting) != 1:
        shapes = {name: tuple(values.shape) for name, values in data.items()}
        raise ValueError(
            f"Expected one site of images; got sites of shapes {shapes}. Draw the one you mean by image_grid, from "
            f"what sample, reconstruct or decode give."
        )
    return fitting[0]


def _lines(*texts: str) -> str:
    return "\n".join(text for text in texts if text)


def _axis(limit: float, steps: int) -> Tensor:
    if not 0 < limit < math.inf:
        raise ValueError(f"Expected a limit above 0, the axis goes from minus it to it; got {limit:g}.")
    return torch.linspace(-limit, limit, steps)
