"""Latents on a grid of whole numbers times a step: their distributions as coders, the same on every machine."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch

from ..distributions.mixture import DiagonalGaussianMixture
from . import elementary
from .elementary import Floats
from .pixels import array_of, require_finite
from .stack import Stack, Whole

SLOTS = 256  # of the table over the values that are likely
REACH = {"normal": 8.0, "laplace": 24.0}  # scales from the middle to the end of the table
FARTHEST = 1 << 22  # steps from 0 to the end of the grid
RARE = 2.0**-30  # weight of a value outside of the table; the coder makes it 2^-24


class Independent:
    """Independent variables of a location and a scale, rounded to the grid.

    A table of 256 slots holds what lies within 8 scales (24 of a Laplace); a slot is as many points, a power of two, as
    that takes, all equally likely: a slot is at most an eighth of a scale wide. Points outside are marked as such and
    written out, some 47 bits.

    Args:
        family: "normal" or "laplace".
        loc, scale: (B, D).
        step: of the grid, (D,).

    Attributes:
        middle: a typical value, (B, D).
        parameters: all that it depends on.
    """

    def __init__(self, family: str, loc: Floats, scale: Floats, step: Floats) -> None:
        self.family, self.loc, self.scale, self.step = family, loc, scale, step
        self.middle, self.parameters = loc, [loc, scale]
        _, log_size = np.frexp(2 * REACH[family] * scale / (SLOTS * step))
        self.sizes = np.left_shift(np.int64(1), np.clip(log_size, 0, 14))  # points of a slot, (B, D)
        centre = np.clip(np.rint(loc / step), -FARTHEST // 2, FARTHEST // 2).astype(np.int64)
        self.start = centre - SLOTS // 2 * self.sizes
        self.width = SLOTS * self.sizes

    def _weights(self) -> Floats:
        edges = self.start[..., None] + np.arange(SLOTS + 1) * self.sizes[..., None] - 0.5  # (B, D, slots + 1)
        below = elementary.cdf(self.family, (edges * self.step[:, None] - self.loc[..., None]) / self.scale[..., None])
        slots = np.diff(below, axis=-1).reshape(-1, SLOTS)
        return np.concatenate([slots, np.full((len(slots), 1), RARE)], -1)

    def push(self, stack: Stack, points: Whole) -> None:
        """Put points (B, D) on the stack."""
        start, sizes, width = (t.reshape(-1) for t in (self.start, self.sizes, self.width))
        points = points.reshape(-1)
        slot, place = np.divmod(points - start, sizes)
        out = (slot < 0) | (slot >= SLOTS)
        # Points outside are numbered without those of the table, so that there is one way to write each.
        number = points + FARTHEST - np.where(slot >= SLOTS, width, 0)
        stack.push_uniform(number[out], 2 * FARTHEST - width[out])
        stack.push_uniform(place[~out], sizes[~out])
        stack.push(np.where(out, SLOTS, slot), self._weights())

    def pop(self, stack: Stack) -> Whole:
        """Take points off, or draw them."""
        start, sizes, width = (t.reshape(-1) for t in (self.start, self.sizes, self.width))
        slot = stack.pop(self._weights())
        out = slot == SLOTS
        points = start + slot * sizes
        points[~out] += stack.pop_uniform(sizes[~out])
        points[out] = stack.pop_uniform(2 * FARTHEST - width[out]) - FARTHEST
        points[out & (points >= start)] += width[out & (points >= start)]
        return points.reshape(self.loc.shape)


class Mixture:
    """A mixture of C of these, by bits back once more: which of them is drawn, and given back.

    -log p(z, c) + log p(c|z) = -log p(z), whatever c was drawn: the mixture costs what it should.

    Args:
        logits: of the components, (B, C).
        loc, scale: (C, D), or (B, C, D), of Gaussians.
        step: of the grid, (D,).

    Reference:
        Townsend, Bird, Barber 2019, "Practical lossless compression with latent variables using bits back coding".
    """

    family = "normal"

    def __init__(self, logits: Floats, loc: Floats, scale: Floats, step: Floats) -> None:
        self.logits, self.loc, self.scale, self.step = logits, loc, scale, step
        self.parameters = [logits, loc, scale]
        self.inverse, self.log_scale = 1 / scale, elementary.log(scale)

    @property
    def middle(self) -> Floats:
        return self._of(self.logits.argmax(-1)).loc

    def _of(self, component: Whole) -> Independent:
        rows = np.arange(len(component))
        loc, scale = (t[component] if t.ndim == 2 else t[rows, component] for t in (self.loc, self.scale))
        return Independent(self.family, loc, scale, self.step)

    def _posterior(self, points: Whole) -> Floats:
        log_joint = self.logits
        for d in range(points.shape[1]):  # (B, C) at a time
            t = (points[:, None, d] * self.step[d] - self.loc[..., d]) * self.inverse[..., d]
            log_joint = log_joint - 0.5 * t * t - self.log_scale[..., d]
        return elementary.softmax(log_joint, -1)

    def push(self, stack: Stack, points: Whole) -> None:
        component = stack.pop(self._posterior(points))
        self._of(component).push(stack, points)
        stack.push(component, elementary.softmax(self.logits, -1))

    def pop(self, stack: Stack) -> Whole:
        component = stack.pop(elementary.softmax(self.logits, -1))
        points = self._of(component).pop(stack)
        stack.push(component, self._posterior(points))
        return points


Coder = Independent | Mixture


def coder_of(name: str, fn: Any, num_data: int, step: float | Floats) -> Coder:
    """The coder of a latent site's distribution, batch (B,), on a grid with one step, or one for each variable; refused
    where there is none."""
    base = fn
    while isinstance(base, dist.Independent):
        base = base.base_dist
    shape = torch.Size((*fn.batch_shape, *fn.event_shape))
    step = np.broadcast_to(np.asarray(step, dtype=np.float64), (fn.event_shape.numel(),))
    if tuple(fn.batch_shape) == (num_data,):
        if isinstance(base, dist.Normal):
            return Independent("normal", array_of(base.loc, shape), array_of(base.scale, shape), step)
        if isinstance(base, dist.Laplace):
            return Independent("laplace", array_of(base.loc, shape), array_of(base.scale, shape), step)
        if isinstance(base, DiagonalGaussianMixture):
            logits = array_of(base.logits, torch.Size((num_data, len(base.logits))))
            loc, scale = (require_finite(t.detach().double().numpy()) for t in (base.loc, base.scale))
            return Mixture(logits, loc, scale, step)
        if isinstance(base, dist.MixtureSameFamily) and len(fn.event_shape) == 1:
            parts = base.component_distribution
            if isinstance(parts, dist.Independent) and isinstance(parts.base_dist, dist.Normal):
                wide = torch.Size((num_data, parts.batch_shape[-1], *parts.event_shape))
                values = parts.base_dist
                loc, scale = (array_of(t, wide).reshape(wide) for t in (values.loc, values.scale))
                return Mixture(array_of(base.mixture_distribution.logits, wide[:2]), loc, scale, step)
    raise ValueError(
        f"Expected independent Gaussian or Laplace variables, or a mixture of diagonal Gaussians, one for each data "
        f"point, at the latent site {name!r}; got {type(base).__name__} of batch shape {tuple(fn.batch_shape)}. "
        f"Latents are coded value by value, for which a density of all of them together, as a flow has it, does not "
        f"do: train with StandardNormal, DiagonalNormal, LaplacePrior, GaussianMixture or VampPrior as prior, and "
        f"GaussianEncoder or MixtureEncoder."
    )


def step_exponent(coder: Coder) -> int:
    """The step, as an exponent of two: a quarter to a half of the smallest scale, if the grid then reaches all."""
    fine = math.frexp(coder.scale.min())[1] - 2
    farthest = np.max(np.abs(coder.loc) + REACH[coder.family] * coder.scale)
    reaching = math.frexp(farthest)[1] - FARTHEST.bit_length() + 2
    return max(-20, reaching, min(fine, 4))
