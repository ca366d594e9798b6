"""The von Mises-Fisher distribution on the unit sphere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor
from torch.distributions import constraints, register_kl

from .bessel import bessel_ratio, log_bessel
from .validation_private import validated_like

# Of the rejection sampler: each is accepted with probability 0.65 or more, so that all are rejected once in 2e7 draws,
# and then the last one is taken. A fixed number, so that a step can be recorded.
PROPOSALS = 16
_GAUSS_LEGENDRE = np.polynomial.legendre.leggauss(64)
WIDTHS = 12  # of the density, which the quadrature spans


class VonMisesFisher(dist.TorchDistribution):
    """p(z) proportional to exp(concentration loc . z) on the sphere |z| = 1; uniform at concentration 0; event (D,).

    Draws are reparameterized. The angle theta between z and loc has density exp(k cos theta) sin^{D-2} theta: it is
    drawn by Wood's rejection, and its derivative in k is -(dF/dk) / f, F its distribution function, by quadrature. The
    rest is a reflection, smooth in loc. Everything about the angle is in double precision.

    Args:
        loc: unit vectors (..., D), D >= 2.
        concentration: k >= 0, (...).

    Reference:
        Wood 1994, "Simulation of the von Mises Fisher distribution"; Davidson, Falorsi, De Cao, Kipf, Tomczak 2018,
        "Hyperspherical variational auto-encoders"; Figurnov, Mohamed, Mnih 2018, "Implicit reparameterization
        gradients".

    Example:
        >>> VonMisesFisher(torch.tensor([0.0, 1.0, 0.0]), torch.tensor(0.0)).log_prob(torch.tensor([1.0, 0.0, 0.0]))
        tensor(-2.5310)
    """

    arg_constraints: Any = {  # noqa: RUF012
        "loc": dist.constraints.sphere,
        "concentration": constraints.greater_than_eq(0.0),
    }
    support = dist.constraints.sphere
    has_rsample = True

    def __init__(self, loc: Tensor, concentration: Tensor, validate_args: bool | None = None) -> None:
        if loc.shape[-1] < 2:
            raise ValueError(f"Expected loc of at least 2 dimensions, a circle; got shape {tuple(loc.shape)}.")
        batch = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc, self.concentration = loc.expand(*batch, -1), concentration.expand(batch)
        super().__init__(batch, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape: torch.Size, _instance: Any = None) -> VonMisesFisher:
        loc, concentration = self.loc.expand(*batch_shape, -1), self.concentration.expand(batch_shape)
        new = VonMisesFisher(loc, concentration, validate_args=False)
        return validated_like(new, self)

    @property
    def _order(self) -> float:
        return self.event_shape[0] / 2 - 1

    @property
    def _log_integral(self) -> Tensor:
        """The logarithm of the integral of exp(k (loc . z - 1)) over the sphere."""
        return self.event_shape[0] / 2 * math.log(2 * math.pi) + log_bessel(self._order, self.concentration)

    @property
    def mean_length(self) -> Tensor:
        """|E[z]|, also called A_D(k): 0 for the uniform distribution, towards 1 with the concentration."""
        return bessel_ratio(self._order, self.concentration)

    @property
    def mean(self) -> Tensor:
        return self.mean_length[..., None] * self.loc

    def entropy(self) -> Tensor:
        return self._log_integral + self.concentration * (1 - self.mean_length)

    def log_prob(self, value: Tensor) -> Tensor:
        if self._validate_args:
            self._validate_sample(value)
        # k (loc . z - 1), without the difference of near numbers
        exponent = -0.5 * self.concentration * (value - self.loc).square().sum(-1)
        return exponent - self._log_integral

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        dim, shape = self.event_shape[0], torch.Size(sample_shape) + self.batch_shape
        concentration = self.concentration.double().expand(shape)
        with torch.no_grad():
            angle = _draw_angle(concentration, dim)
        if concentration.requires_grad:
            with torch.no_grad():
                length = bessel_ratio(self._order, self.concentration.double()).expand(shape)
                slope = _slope(angle, concentration, length, dim)
            angle = angle + slope * (concentration - concentration.detach())
        # The reflection that takes pole = (-+1, 0, ...) to loc: the pole on the far side, so that they never are close.
        first = self.loc[..., :1]
        side = torch.where(first < 0, 1.0, -1.0).to(first)
        across = _directions(self.loc, torch.Size((*shape, dim - 1)))
        across = torch.cat([torch.zeros_like(across[..., :1]), across], -1)  # a direction at right angles to the pole
        pole = torch.cat([side, torch.zeros_like(self.loc[..., 1:])], -1)
        cosine = (self.loc * across).sum(-1, keepdim=True)
        across = across + (pole - self.loc) * cosine / (1 + first.abs())  # now at right angles to loc
        z = angle.cos()[..., None].to(self.loc) * self.loc + angle.sin()[..., None].to(self.loc) * across
        return z / z.norm(dim=-1, keepdim=True)  # rounding


def _directions(like: Tensor, shape: torch.Size) -> Tensor:
    """Draw uniform directions."""
    normal = torch.randn(shape, dtype=like.dtype, device=like.device)
    return normal / normal.norm(dim=-1, keepdim=True).clamp(min=torch.finfo(like.dtype).tiny)


def _draw_angle(concentration: Tensor, dim: int) -> Tensor:
    """Angles between z and loc; Wood's algorithm, with tan(angle / 2) instead of a cosine that rounds to 1."""
    k, m = concentration[..., None], dim - 1
    b = m / (2 * k + (4 * k.square() + m**2).sqrt())
    tangent = (b * _symmetric_beta_odds(m / 2, k.expand(*k.shape[:-1], PROPOSALS))).sqrt()
    cosine = (1 - tangent.square()) / (1 + tangent.square())
    mode = (1 - b) / (1 + b)
    log_ratio = k * (cosine - mode) + m * ((1 - mode * cosine) / (1 - mode.square())).log()
    accepted = torch.rand_like(log_ratio).log() <= log_ratio
    first = torch.where(accepted.any(-1), accepted.long().argmax(-1), PROPOSALS - 1)
    return 2 * tangent.gather(-1, first[..., None])[..., 0].atan()


def _symmetric_beta_odds(a: float, like: Tensor) -> Tensor:
    """X / (1 - X) for X ~ Beta(a, a), a >= 1/2, exact at both ends; shaped like another tensor.

    X = (1 + s) / 2,  s = sqrt(1 - U^(2 / (2 a - 1))) cos(2 pi V), from two uniform numbers (Ulrich 1984; Devroye 1986,
    "Non-uniform random variate generation", section IX.3.3): far cheaper than two Gamma variables.
    """
    power = torch.rand_like(like) ** (2 / (2 * a - 1)) if a > 1 / 2 else torch.zeros_like(like)
    turn = 2 * math.pi * torch.rand_like(like)
    s = (1 - power).sqrt() * turn.cos()
    inner = (turn.sin().square() + power * turn.cos().square()).clamp(min=torch.finfo(like.dtype).tiny)  # 1 - s^2
    far = (1 + s.abs()).square() / inner
    return torch.where(s > 0, far, 1 / far)


def _slope(angle: Tensor, concentration: Tensor, mean_length: Tensor, dim: int) -> Tensor:
    """d angle / d concentration at a fixed value of the distribution function.

    -(dF/dk)(angle) / f(angle) = -int_0^angle (cos t - A) f(t) / f(angle) dt, where the normalizers cancel. The
    integral over [0, pi] is zero: that from the angle on is the same up to its sign, and the end is taken on whose side
    (cos t - A) keeps its sign.
    """
    nodes, weights = map(angle.new_tensor, _GAUSS_LEGENDRE)  # on [-1, 1]
    # Width of the density where it is largest: k cos t + (D - 2) log sin t curves there by -(k cos t + (D-2)/sin^2 t)
    # there, at cos t = mode.
    m = dim - 2
    mode = 2 * concentration / (m + (m**2 + 4 * concentration.square()).sqrt()).clamp(min=1e-300)
    curvature = concentration * mode + m / (1 - mode.square()).clamp(min=1e-300)
    span = WIDTHS * curvature.clamp(min=1e-6).rsqrt()
    beyond = angle.cos() < mean_length
    far = torch.where(beyond, (angle + span).clamp(max=math.pi), (angle - span).clamp(min=0.0))
    length = far - angle
    t = angle[..., None] + length[..., None] * (nodes + 1) / 2
    sine = t.sin().clamp(min=1e-300).log() - angle.sin().clamp(min=1e-300).log()[..., None]
    log_density = concentration[..., None] * (t.cos() - angle.cos()[..., None]) + m * sine
    # int from the angle to the far end; from 0 on it has the other sign, as has the side beyond by the zero integral
    return (weights * (t.cos() - mean_length[..., None]) * log_density.exp()).sum(-1) * length / 2


@register_kl(VonMisesFisher, VonMisesFisher)
def _kl(q: VonMisesFisher, p: VonMisesFisher) -> Tensor:
    cosine = (q.loc * p.loc).sum(-1)
    cross_entropy: Tensor = p._log_integral + p.concentration * (1 - q.mean_length * cosine)
    return cross_entropy - q.entropy()
