"""Images from any pair: unconditional draws, reconstructions, and what chosen latents decode to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pyro.distributions as dist
import torch
from pyro import poutine
from torch import Tensor
from torch.nn import functional

from ..pairs.contexts import evaluating, seeded
from ..pairs.modules import Callee
from ..pairs.scoring import traces
from ..pairs.sites import latents_of, sample_sites

Path = Literal["linear", "sphere"]


def sample(model: Callee, like: Tensor, *, seed: int | None = 0) -> tuple[Tensor, Tensor]:
    """Unconditional draws of x, from the very code of the model that is trained.

    Args:
        model: p(x, z).
        like: any tensor of the wanted number and shape of images (N, ...); its values are not used.
        seed: of the draws; None for the global stream.

    Returns:
        Draws of x, and the means of the p(x|z) that they were drawn from, both (N, ...).
    """
    with seeded(seed), evaluating(model, model):
        site = _observed_site(poutine.trace(poutine.uncondition(model)).get_trace(like))
    return site["value"], _mean(site)


def reconstruct(model: Callee, guide: Callee, x: Tensor, *, seed: int | None = 0) -> Tensor:
    """Mean of p(x|z) (a draw where it has none) for one z drawn from the guide for each image x (N, ...)."""
    with seeded(seed), evaluating(model, guide):
        return _mean(_observed_site(traces(model, guide, x)[0]))


def encode(model: Callee, guide: Callee, x: Tensor, *, seed: int | None = 0) -> dict[str, Tensor]:
    """The code of each image: the mean of q at each latent site, by name, top level of a hierarchy first.

    Args:
        model, guide: the pair.
        x: images (N, ...).
        seed: of the draws that deeper levels are conditioned on.

    Returns:
        Means (N, D) of the latent sites, in the model's order; a draw where q has no mean in closed form.
    """
    return {name: code for name, (code, _) in _codes(model, guide, x, seed=seed).items()}


def decode(model: Callee, latents: Mapping[str, Tensor], like: Tensor, *, seed: int = 0) -> Tensor:
    """Mean of p(x|z) at given latents.

    Args:
        model: p(x, z).
        latents: values (N, D) by latent site. Sites not given are drawn from the model, with the same random numbers
            for each of the N, so that the images differ by the given latents alone.
        like: images (1 or more, ...) that give the shape of one; their values are not used.
        seed: of those draws.

    Returns:
        Images (N, ...).

    Raises:
        ValueError: a site that the model does not have.
    """

    def run(values: Mapping[str, Tensor]) -> poutine.Trace:
        batch = like[:1].expand(len(next(iter(values.values()))), *like.shape[1:])
        with seeded(seed):
            return poutine.trace(poutine.condition(poutine.uncondition(model), values)).get_trace(batch)

    def picture(trace: poutine.Trace) -> Tensor:  # conditioned latents count as observed, too: not those
        return _mean(next(site for _, site in sample_sites(trace) if site["infer"].get("was_observed")))

    count = len(next(iter(latents.values())))
    with evaluating(model, model):
        trace = run(latents)
        sites = {name: site for name, site in sample_sites(trace) if not site["infer"].get("was_observed")}
        if unknown := sorted(latents.keys() - sites.keys()):
            raise ValueError(f"Expected latent sites of the model, {sorted(sites)}; got {unknown}.")
        if latents.keys() == sites.keys():
            return picture(trace)
        rows = [{name: value[i : i + 1] for name, value in latents.items()} for i in range(count)]
        return torch.cat([picture(run(row)) for row in rows])


def traverse(model: Callee, guide: Callee, x: Tensor, *, dims: Sequence[int], values: Tensor) -> Tensor:
    """What one latent after the other does to an image: its code with one dimension set to each of the values.

    In a hierarchy it is the top level that moves; the levels below are drawn from the model. On a sphere the others
    make room: the code with its new value is brought back to length 1.

    Args:
        model, guide: the pair.
        x: one image (1, ...).
        dims: latent dimensions.
        values: what each of them is set to, (S,).

    Returns:
        Images (len(dims), S, ...).

    Raises:
        ValueError: a latent dimension out of range, latents that are no vectors, or such that cannot be moved one by
            one: discrete ones, or proportions.
    """
    name, code, support = _top(model, guide, x[:1])
    _check_dims(dims, code)
    moved = code.repeat(len(dims) * len(values), 1).view(len(dims), len(values), -1)
    for row, dim in enumerate(dims):
        moved[row, :, dim] = values.to(code)
    return decode(model, {name: _kept_in(support, moved.flatten(0, 1))}, x).unflatten(0, moved.shape[:2])


def most_varied(model: Callee, guide: Callee, x: Tensor, *, count: int) -> list[int]:
    """The latent dimensions whose codes differ most between images x (N, ...), by their variance, largest first.

    Args:
        model, guide: the pair.
        x: images, two or more.
        count: dimensions, at most.

    Raises:
        ValueError: latents that are no vectors.
    """
    _, codes, _ = _top(model, guide, x)
    return codes.var(0, correction=0).argsort(descending=True, stable=True)[:count].tolist()


def between(
    model: Callee, guide: Callee, start: Tensor, end: Tensor, *, steps: int = 10, path: Path = "linear"
) -> Tensor:
    """Images on the way from one image to another, decoded from `interpolate` of their codes.

    Args:
        model, guide: the pair.
        start, end: images (N, ...).
        steps: images on each way, both ends included.
        path: "linear" or "sphere".

    Returns:
        Images (N, steps, ...). Codes on a sphere stay there, whichever the path.
    """
    (name, first, support), (_, last, _) = _top(model, guide, start), _top(model, guide, end)
    codes = interpolate(first, last, steps=steps, path=path)  # (N, steps, D)
    way = functional.normalize(codes, dim=-1) if _is_sphere(support) else codes
    return decode(model, {name: way.flatten(0, 1)}, start).unflatten(0, codes.shape[:2])


def interpolate(start: Tensor, end: Tensor, *, steps: int = 10, path: Path = "linear") -> Tensor:
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
    if steps < 2:
        raise ValueError(f"Expected at least 2 steps, both ends; got {steps}.")
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
            "images, or path='linear'."
        )
    on_sphere = (((1 - t) * angle).sin() * start + (t * angle).sin() * end) / angle.sin()
    return torch.where(angle < 1e-3, line, on_sphere)  # nearly parallel: both are the same, and 0 / 0 is not


def manifold(model: Callee, guide: Callee, x: Tensor, *, coordinates: Tensor, dims: tuple[int, int] = (0, 1)) -> Tensor:
    """Images decoded over a grid of two latent dimensions, the others at the mean code of the images x.

    Args:
        model, guide: the pair.
        x: images (N, ...).
        coordinates: of the grid on both axes, (S,), increasing.
        dims: the dimensions of the horizontal and of the vertical axis.

    Returns:
        Images (S * S, ...), row by row as on paper: the horizontal coordinate grows to the right, the vertical upwards.

    Raises:
        ValueError: a latent dimension out of range, the same one twice, latents that are no vectors, or such that
            cannot be moved one by one: discrete ones, or proportions.
    """
    name, codes, support = _top(model, guide, x)
    _check_dims(dims, codes)
    if len(dims) != 2 or dims[0] == dims[1]:
        raise ValueError(f"Expected two different latent dimensions; got {list(dims)}.")
    grid = codes.mean(0).repeat(len(coordinates) ** 2, 1)  # (S * S, D)
    vertical, horizontal = torch.meshgrid(coordinates.flip(0), coordinates, indexing="ij")
    grid[:, dims[0]], grid[:, dims[1]] = horizontal.flatten().to(grid), vertical.flatten().to(grid)
    return decode(model, {name: _kept_in(support, grid)}, x)


def _codes(model: Callee, guide: Callee, x: Tensor, *, seed: int | None = 0) -> dict[str, tuple[Tensor, Any]]:
    """Mean of q and support of p(z) at each latent site, in the model's order."""
    with seeded(seed), evaluating(model, guide):
        model_trace, guide_trace = traces(model, guide, x)
    latents = latents_of(model_trace)
    return {name: (_mean(guide_trace.nodes[name]), site["fn"].support) for name, site in latents.items()}


def _top(model: Callee, guide: Callee, x: Tensor) -> tuple[str, Tensor, Any]:
    """Name, code (N, D) and support of the first latent site, if it is a vector for each image."""
    name, (code, support) = next(iter(_codes(model, guide, x).items()))
    if code.dim() != 2:
        raise ValueError(
            f"Expected a vector of latents for each image at site {name!r}; got shape {tuple(code.shape)}."
        )
    return name, code, support


def _is_sphere(support: Any) -> bool:
    return isinstance(support, type(dist.constraints.sphere))


def _kept_in(support: Any, codes: Tensor) -> Tensor:
    """Codes (N, D) of which some dimensions were moved, back on the sphere if that is where they live."""
    if _is_sphere(support):
        return functional.normalize(codes, dim=-1)
    if not support.check(codes).all():
        raise ValueError(
            f"Expected latents that can be moved one by one, real ones or on a sphere; got those of support {support}, "
            f"which they would leave. Interpolate between images instead."
        )
    return codes


def _check_dims(dims: Sequence[int], codes: Tensor) -> None:
    last = codes.shape[1] - 1
    if wrong := [dim for dim in dims if not 0 <= dim <= last]:
        raise ValueError(f"Expected latent dimensions from 0 to {last}; got {', '.join(map(str, wrong))}.")


def is_discrete(model: Callee, like: Tensor) -> bool:
    """Whether p(x) is a probability; a density otherwise, whose logarithm cannot be compared with that of one."""
    with seeded(0), evaluating(model, model):
        site = _observed_site(poutine.trace(poutine.uncondition(model)).get_trace(like))
    return bool(site["fn"].support.is_discrete)


def _observed_site(trace: poutine.Trace) -> Any:
    for _, site in sample_sites(trace):
        if site["is_observed"] or site["infer"].get("was_observed"):
            return site
    raise ValueError("Expected a model with an observed site, pyro.sample(..., obs=x); got none.")


def _mean(site: Any) -> Tensor:
    try:
        mean: Tensor = site["fn"].mean
    except NotImplementedError:  # a distribution without a closed mean: show a draw, never the data themselves
        mean = site["fn"].sample() if site["is_observed"] else site["value"]
    return mean.expand(site["value"].shape)
