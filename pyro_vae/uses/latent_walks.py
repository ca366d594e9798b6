"""Ways through the latents of any pair, and what lies along them: one dimension after the other, between two data
points, over a grid."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, Literal

import pyro.distributions as dist
import torch
from torch import Tensor
from torch.nn import functional

from ..arguments.at_least import at_least
from ..pairs.batch import taking
from ..pairs.contexts import evaluating, seeded
from ..pairs.inputs import Inputs, as_points
from ..pairs.modules import Callee
from ..pairs.sites import sample_sites
from ..pairs.unconditional import drawn_from
from .generate import codes_and_supports, decode, each_site

Way = Literal["linear", "sphere"]


def traverse(model: Callee, guide: Callee, x: Inputs, *, dims: Sequence[int], values: Tensor) -> Any:
    """What one latent after the other does to a data point: its code with one dimension set to each of the values.

    In a hierarchy it is the top level that moves; the levels below are drawn from the model. On a sphere the others
    make room: the code with its new value is brought back to length 1. From one data point (1, ...), values (S,) and
    numbers of latent dimensions, data (len(dims), S, ...). Refused are latents that are not vectors, or that cannot be
    moved one by one: discrete ones, or proportions.
    """
    x = as_points("x", x, model, guide)[:1]
    name, code, support = top_site(model, guide, x)
    _check_dims(dims, code)
    moved = code.repeat(len(dims) * len(values), 1).view(len(dims), len(values), -1)
    for row, dim in enumerate(dims):
        moved[row, :, dim] = values.to(code)
    decoded = decode(model, {name: kept_in(support, moved.flatten(0, 1))}, x)
    return each_site(lambda data: data.unflatten(0, moved.shape[:2]), decoded)


def most_varied(model: Callee, guide: Callee, x: Inputs, *, count: int) -> list[int]:
    """The latent dimensions, so many at most, whose codes differ most between data points x (N, ...), two or more: by
    their variance, largest first."""
    _, codes, _ = top_site(model, guide, x)
    return codes.var(0, correction=0).argsort(descending=True, stable=True)[:count].tolist()


def between(model: Callee, guide: Callee, start: Inputs, end: Inputs, *, steps: int = 10, path: Way = "linear") -> Any:
    """Data points (N, steps, ...) on the way from some (N, ...) to others, decoded from `interpolate` of their codes.

    Other inputs, such as labels, stay those of the start; codes on a sphere stay there, whichever the path.
    """
    (name, first, support), (_, last, _) = top_site(model, guide, start), top_site(model, guide, end)
    codes = interpolate(first, last, steps=steps, path=path)  # (N, steps, D)
    way = functional.normalize(codes, dim=-1) if _is_sphere(support) else codes
    like = as_points("start", start, model, guide)[torch.arange(len(codes)).repeat_interleave(steps)]
    decoded = decode(model, {name: way.flatten(0, 1)}, like)
    return each_site(lambda data: data.unflatten(0, codes.shape[:2]), decoded)


def interpolate(start: Tensor, end: Tensor, *, steps: int = 10, path: Way = "linear") -> Tensor:
    """Points from start to end, on a straight line or along the sphere.

    sphere: sin((1 - t) a) / sin(a) start + sin(t a) / sin(a) end, a the angle between them. Draws of a standard normal
    in many dimensions lie near a sphere, which a straight line leaves: halfway its length is only 0.7 of theirs.

    Args:
        start, end: (N, D).
        steps: points on each way, both ends included.
        path: "linear" or "sphere".

    Returns:
        Points (N, steps, D).

    Raises:
        ValueError: fewer than two steps, an unknown path, or along the sphere, opposite points.

    Reference:
        Shoemake 1985, "Animating rotation with quaternion curves"; White 2016, "Sampling generative networks".

    Example:
        >>> interpolate(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), steps=3, path="sphere")[0, 1]
        tensor([0.7071, 0.7071])
    """
    at_least(2, steps=steps)  # both ends
    if path not in ("linear", "sphere"):
        raise ValueError(f"Expected path to be linear or sphere; got {path!r}.")
    start, end = start[:, None], end[:, None]
    t = torch.linspace(0, 1, steps).to(start)[:, None]
    line = torch.lerp(start, end, t)
    if path == "linear":
        return line
    cosine = functional.cosine_similarity(start, end, dim=-1)[..., None]
    angle = cosine.clamp(-1, 1).acos()
    if (cosine < -1 + 1e-6).any():
        raise ValueError(
            "Expected codes that are not opposite to each other, whose way along the sphere is not one; choose other "
            "data points, or path='linear'."
        )
    on_sphere = (((1 - t) * angle).sin() * start + (t * angle).sin() * end) / angle.sin()
    return torch.where(angle < 1e-3, line, on_sphere)  # nearly parallel: both are the same, and 0 / 0 is not


def manifold(model: Callee, guide: Callee, x: Inputs, *, coordinates: Tensor, dims: tuple[int, int] = (0, 1)) -> Any:
    """Data decoded over a grid of two latent dimensions, the others at the mean code of data x (N, ...).

    The coordinates increase, (S,) for both axes or (2, S) for the horizontal and the vertical one, as ``dims`` are. The
    data (S * S, ...) are row by row as on paper: the horizontal coordinate grows to the right, the vertical upwards.
    """
    name, codes, support = top_site(model, guide, x)
    _check_dims(dims, codes)
    if len(dims) != 2 or dims[0] == dims[1]:
        raise ValueError(f"Expected two different latent dimensions; got {list(dims)}.")
    across, upwards = coordinates.expand(2, -1) if coordinates.dim() == 1 else coordinates
    grid = codes.mean(0).repeat(len(across) * len(upwards), 1)  # (S * S, D)
    vertical, horizontal = torch.meshgrid(upwards.flip(0), across, indexing="ij")
    grid[:, dims[0]], grid[:, dims[1]] = horizontal.flatten().to(grid), vertical.flatten().to(grid)
    return decode(model, {name: kept_in(support, grid)}, x)


def prior_quantiles(
    model: Callee, like: Inputs, *, dims: Sequence[int], probabilities: Tensor, num_draws: int = 10_000, seed: int = 0
) -> Tensor:
    """Quantiles of the prior as it is now, of each of some dimensions of the first latent site by itself.

    From probabilities (S,), quantiles (len(dims), S): exact where the prior is of independent dimensions that know
    them, else those of so many draws. Of ``like``, data (1 or more, ...), only the shape of one counts.
    """
    points = as_points("like", like)
    (model,) = taking(points, model)

    def prior(count: int) -> Any:
        with seeded(seed), evaluating(model, model), torch.no_grad():
            trace = drawn_from(model, points[torch.zeros(count, dtype=torch.int64)])
        return next(item for item in sample_sites(trace) if not item[1]["infer"].get("was_observed"))

    name, site = prior(1)
    _check_dims(dims, _vectors(name, site["value"]))
    chosen, wanted = list(dims), probabilities.to(site["value"])
    if isinstance(site["fn"], dist.Independent):
        with contextlib.suppress(NotImplementedError):
            values: Tensor = site["fn"].base_dist.icdf(wanted[:, None, None])  # (S, 1, D)
            return values.expand(-1, 1, site["value"].shape[-1])[:, 0, chosen].T
    draws = prior(num_draws)[1]["value"]
    return draws[:, chosen].double().quantile(wanted.double(), dim=0).T.to(draws)


def top_site(model: Callee, guide: Callee, x: Inputs) -> tuple[str, Tensor, Any]:
    """Name, code (N, D) and support of the first latent site, if it is a vector for each data point."""
    name, (code, support) = next(iter(codes_and_supports(model, guide, x).items()))
    return name, _vectors(name, code), support


def _vectors(name: str, values: Tensor) -> Tensor:
    if values.dim() != 2:
        raise ValueError(
            f"Expected a vector of latents for each data point at site {name!r}; got shape {tuple(values.shape)}."
        )
    return values


def _is_sphere(support: Any) -> bool:
    return isinstance(support, type(dist.constraints.sphere))


def kept_in(support: Any, codes: Tensor) -> Tensor:
    """Codes (N, D) of which some dimensions were moved, back on the sphere if that is where they live."""
    if _is_sphere(support):
        return functional.normalize(codes, dim=-1)
    if support is not None and not support.check(codes).all():
        raise ValueError(
            f"Expected latents that can be moved one by one, real ones or on a sphere; got those of support {support}, "
            f"which they would leave. Interpolate between data points instead."
        )
    return codes


def _check_dims(dims: Sequence[int], codes: Tensor) -> None:
    last = codes.shape[1] - 1
    if wrong := [dim for dim in dims if not 0 <= dim <= last]:
        raise ValueError(f"Expected latent dimensions from 0 to {last}; got {', '.join(map(str, wrong))}.")
