"""The latents of a pair as vectors of unconstrained numbers, one for each particle and data point."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.util import sum_rightmost
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Transform, biject_to

from ..pairs.batch import Points
from ..pairs.densities import check_own_density
from ..pairs.modules import Callee
from ..pairs.particles import broadcasts, in_particle_plate, repeat_data
from ..pairs.scoring import drawn_from_prior, score_traces, traces
from ..pairs.sites import latents_of
from ..pairs.supports import is_angle, is_made_of, is_point_mass, is_straight_through, support_of

MOST_LATENTS = 512  # dimensions: Gaussians of 64 data points are some matrices of 64 MiB then
TRIED = 64  # draws of guide and prior for a data point, whose weights have to be the same in unconstrained space


class NotScored(Exception):
    """A pair raised an error, the cause of this, at latents that its guide need never draw."""


@contextmanager
def at_any_latents() -> Iterator[None]:
    """Tells errors that a pair raises inside from all others."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except (ValueError, RuntimeError, ArithmeticError, AssertionError) as error:
        sentence = str(error).split("\n", 1)[0]  # Pyro adds a table of shapes
        raise NotScored(f"{type(error).__name__}: {sentence}") from error


class Densities(NamedTuple):
    """Log densities at u, (K, B) each; those of z times |dz/du|."""

    joint: Tensor  # of p(x, z)
    guide: Tensor  # of q(z|x)
    prior: Tensor  # of p(z)


class LatentSpace:
    """The continuous latents of a pair, u (K, B, D) for K particles and B data points, and their densities; tried on a
    few data points x (B, ...).

    Raises:
        ValueError: a discrete latent, a support without a bijection from unconstrained space, or a guide with auxiliary
            sites, whose density at given latents is not known.
    """

    def __init__(self, model: Callee, guide: Callee, x: Points) -> None:
        check_own_density(guide, x, "Use estimator='guide'.")
        model_trace, _ = traces(model, guide, x)
        self.model, self.guide = model, guide
        latents = unconstrained(model_trace)
        self.shapes = {name: u.shape[1:] for name, u in latents.items()}
        self.dim = sum(shape.numel() for shape in self.shapes.values())
        self.dtype = torch.cat([u.flatten() for u in latents.values()]).dtype
        self.plated = broadcasts(model, guide, x[:3])  # else the data are repeated

    def drawn(self, x: Points, count: int, *, prior: bool = False) -> Tensor:
        """Draws u (K, B, D) of the guide, or of the prior."""
        model, guide, rows, shape = self._for_particles(x, count)
        with at_any_latents():
            trace = drawn_from_prior(model, rows) if prior else traces(model, guide, rows)[0]
        return self._vectors(trace, shape).view(count, len(x), -1)

    def densities(self, x: Points, u: Tensor, *, guided: bool = True) -> Densities:
        """The log densities at u (K, B, D), as functions of it; not the guide's, if it is not wanted."""
        model, guide, rows, shape = self._for_particles(x, len(u))
        parts = (u if self.plated else u.flatten(0, 1)).split([size.numel() for size in self.shapes.values()], -1)
        named = zip(self.shapes.items(), parts, strict=True)
        given = {name: part.reshape(*part.shape[:-1], *size) for (name, size), part in named}
        with at_any_latents():
            with Placing(given, particles=self.plated) as placing:
                model_trace = poutine.trace(model).get_trace(rows)
            at_latents = poutine.replay(guide, trace=model_trace)
            guide_trace = poutine.trace(at_latents).get_trace(rows) if guided else poutine.Trace()
            terms = score_traces(model_trace, guide_trace, shape=shape)
        each = terms.log_likelihood + terms.log_prior, terms.log_guide, terms.log_prior
        return Densities(*((term + placing.log_jacobian).expand(shape).reshape(u.shape[:2]) for term in each))

    def joint_and_gradient(self, x: Points, u: Tensor) -> tuple[Tensor, Tensor]:
        """The log joint density (K, B) and its gradient in u, (K, B, D)."""
        with torch.enable_grad(), at_any_latents():
            u = u.detach().requires_grad_()
            joint = self.densities(x, u, guided=False).joint
            (gradient,) = torch.autograd.grad(joint.sum(), u)
        return joint.detach(), gradient

    def joint_and_prior(self, x: Points, u: Tensor) -> tuple[Tensor, Tensor]:
        """The log densities of p(x, z) and p(z), times |dz/du|, (K, B), as functions of u."""
        joint, _, prior = self.densities(x, u, guided=False)
        return joint, prior

    def resolves(self, x: Points, count: int) -> bool:
        """Whether draws of the guide and the prior have the same weights at u as where they were drawn: u cannot tell
        proportions apart that are nearer to 0 or 1 than rounding."""
        model, guide, rows, shape = self._for_particles(x, count)
        for model_trace in (traces(model, guide, rows)[0], drawn_from_prior(model, rows)):
            guide_trace = poutine.trace(poutine.replay(guide, trace=model_trace)).get_trace(rows)
            log_weight = score_traces(model_trace, guide_trace, shape=shape).log_weight.view(count, len(x))
            at_u = self.densities(x, self._vectors(model_trace, shape).view(count, len(x), -1))
            if not torch.allclose(at_u.joint - at_u.guide, log_weight, rtol=1e-3, atol=0.05, equal_nan=True):
                return False
        return True

    def _vectors(self, trace: poutine.Trace, shape: tuple[int, ...]) -> Tensor:
        values = unconstrained(trace, particles=self.plated)
        return torch.cat([u.reshape(*shape, -1) for u in values.values()], -1)

    def _for_particles(self, x: Points, count: int) -> tuple[Callee, Callee, Points, tuple[int, ...]]:
        if self.plated:
            return in_particle_plate(self.model, count), in_particle_plate(self.guide, count), x, (count, len(x))
        return self.model, self.guide, repeat_data(x, count), (count * len(x),)


def latent_space(model: Callee, guide: Callee, x: Points) -> LatentSpace | None:
    """The latents of a pair, if they are continuous, can be moved and scored anywhere, and are few enough for a
    covariance matrix of each data point; their prior has mass 1 over unconstrained space."""
    try:
        space = LatentSpace(model, guide, x)
        space.joint_and_gradient(x, space.drawn(x, 2, prior=True))
        proper = not any(map(_has_infinite_mass, latents_of(traces(model, guide, x)[0]).values()))
        fits = proper and space.dim <= MOST_LATENTS and all(space.resolves(point, TRIED) for point in x.split(1))
    except Exception:  # a discrete latent, a support or a guide that is not known elsewhere, a model that raises
        return None
    return space if fits else None


def _has_infinite_mass(site: Any) -> bool:
    """Whether the density of a site over unconstrained space has no integral: it is masked, so that no value counts, or
    of an angle, which repeats itself."""
    masked = is_made_of(site["fn"], dist.MaskedDistribution) or not (site["mask"] is None or site["mask"] is True)
    return masked or is_angle(site["fn"])


def unconstrained(model_trace: poutine.Trace, *, particles: bool = False) -> dict[str, Tensor]:
    """The latents of a trace, by site, in unconstrained space and with the data points first: (R, ...).

    With ``particles``, in a plate of them, (K, B, ...).
    """
    latents = {}
    for name, site in latents_of(model_trace).items():
        transform, row = coordinates(name, site["fn"])
        u = transform.inv(site["value"])
        latents[name] = u if particles else u.movedim(row, 0)
    if not latents:
        raise ValueError(
            "Expected a model with a latent site; got none to move: log_marginal gives its log p(x) exactly."
        )
    return latents


class Placing(Messenger):
    """Gives each latent site the value z = T(u), T the bijection onto the support of its prior, which may depend on
    the sites before; sums log |dz/du|.

    Args:
        given: u by site, (R, ...), or (K, B, ...) with particles.
    """

    def __init__(self, given: dict[str, Tensor], *, particles: bool = False) -> None:
        super().__init__()
        self.given, self.particles = given, particles
        # A number of the CPU in a recorded graph would keep it from being captured on a GPU.
        self.log_jacobian = torch.zeros((), device=next((u.device for u in given.values()), None))

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] not in self.given:
            return
        transform, row = coordinates(msg["name"], msg["fn"])
        u = self.given[msg["name"]]
        u = u if self.particles else u.movedim(0, row)
        msg["value"], msg["done"] = transform(u), True
        log_jacobian = transform.log_abs_det_jacobian(u, msg["value"])
        log_jacobian = sum_rightmost(log_jacobian, msg["fn"].event_dim - transform.codomain.event_dim)
        inner = log_jacobian.dim() - (2 if self.particles else 1)
        if inner > 0:  # inner plates, left of the data plate
            log_jacobian = log_jacobian.sum(tuple(range(inner)))
        self.log_jacobian = self.log_jacobian + log_jacobian


def coordinates(name: str, prior: Any) -> tuple[Transform, int]:
    """The bijection from unconstrained space onto the support of a site, and the dimension of the data points there."""
    if is_point_mass(prior):
        raise ValueError(
            f"Expected latents that can be moved; site {name!r} is a point mass. Write pyro.deterministic for what "
            f"other latents determine, and leave it out of the guide."
        )
    if is_straight_through(prior):
        raise ValueError(
            f"Expected latents that can be moved; site {name!r} rounds its draws, straight through. Use log_marginal "
            f"with estimator='guide'."
        )
    if (support := support_of(prior)) is None:
        raise ValueError(
            f"Expected latents whose support is known, so that they can be moved; {type(prior).__name__} at site "
            f"{name!r} does not say its own. Give the distribution its support, or use log_marginal."
        )
    if support.is_discrete:
        raise ValueError(
            f"Expected continuous latents, which can be moved; site {name!r} is discrete. Mark it for "
            f"enumeration, infer={{'enumerate': 'parallel'}}, so that it is summed out, or use log_marginal."
        )
    try:
        transform = biject_to(support)
    except NotImplementedError:
        raise ValueError(
            f"Expected a support with a bijection from unconstrained space; site {name!r} has {support}. "
            f"Use log_marginal."
        ) from None
    event_dim = prior.event_dim - transform.codomain.event_dim + transform.domain.event_dim
    return transform, -1 - event_dim
