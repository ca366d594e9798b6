"""The probabilities of pixel values as tables, the same on every machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyro.distributions as dist
import torch
from torch import Tensor

from ..distributions.levels import OnLevels
from ..distributions.rounded import LOGISTIC, NORMAL, Rounded
from . import elementary
from .elementary import Floats
from .stack import Stack, Whole

FAMILIES = {LOGISTIC: "logistic", NORMAL: "normal"}
TOGETHER = 1 << 19  # weights in a table


def array_of(parameter: Tensor, shape: torch.Size) -> Floats:
    """A parameter of a distribution, one row for each data point: (B, values, ...)."""
    found: Floats = parameter.detach().to(torch.float64).expand(shape).reshape(len(shape) and shape[0], -1).numpy()
    return require_finite(found)


def require_finite(values: Floats) -> Floats:
    """The values, refused where one is not finite."""
    if not np.isfinite(values).all():
        raise ValueError("Expected finite parameters of the model's distributions; got infinite ones or NaN.")
    return values


class Pixels:
    """Independent values of a data point, each one of K levels.

    Args:
        parameters: (B, P, ...), those of each value.
        weights: from parameters (n, ...) to weights (n, K), by reproducible operations.
        levels: the values, (K,).
    """

    def __init__(self, parameters: Floats, weights: Callable[[Floats], Floats], levels: Floats) -> None:
        self.parameters, self.weights, self.levels = parameters, weights, levels

    def _blocks(self) -> list[Floats]:
        rows = self.parameters.reshape(-1, *self.parameters.shape[2:])
        size = max(1, TOGETHER // len(self.levels))
        return [rows[start : start + size] for start in range(0, len(rows), size)]

    def push(self, stack: Stack, symbols: Whole) -> None:
        """Put on the levels of all values, (B, P)."""
        end = symbols.size
        for block in reversed(self._blocks()):
            stack.push(symbols.reshape(-1)[end - len(block) : end], self.weights(block))
            end -= len(block)

    def pop(self, stack: Stack) -> Whole:
        """Take them off."""
        found = np.concatenate([stack.pop(self.weights(block)) for block in self._blocks()])
        return found.reshape(self.parameters.shape[:2])

    def mean(self) -> Floats:
        """The means of all values, (B, P)."""
        parts = []
        for block in self._blocks():
            weights = self.weights(block)
            sums = elementary.in_order(np.stack([weights * self.levels, weights]), -1)[..., 0]
            parts.append(sums[0] / sums[1])
        return np.concatenate(parts).reshape(self.parameters.shape[:2])


def pixels_of(name: str, fn: Any, num_data: int) -> Pixels:
    """The tables of an observed site's distribution, batch (B,); refused where there are none."""
    base = fn
    while isinstance(base, dist.Independent):
        base = base.base_dist
    shape = base.batch_shape
    if shape[:1] != (num_data,) or base.event_shape:
        raise _refused(name, fn)
    if isinstance(base, dist.Bernoulli):
        logits, levels = array_of(base.logits, shape), np.array([0.0, 1.0])
        return Pixels(logits, lambda rows: np.stack([elementary.sigmoid(-rows), elementary.sigmoid(rows)], -1), levels)
    if isinstance(base, Rounded) and base.family in FAMILIES:
        parameters = np.stack([array_of(base.loc, shape), array_of(base.scale, shape)], -1)
        return Pixels(parameters, _edges(base), _grey(base.levels))
    if isinstance(base, dist.MixtureSameFamily):
        values = base.component_distribution
        if isinstance(values, Rounded) and values.family in FAMILIES:
            wide = torch.Size((*shape, values.batch_shape[-1]))
            logits = base.mixture_distribution.logits
            stacked = [t.expand(wide).reshape(num_data, -1, wide[-1]) for t in (values.loc, values.scale, logits)]
            parameters = require_finite(torch.stack(stacked, -1).double().detach().numpy())
            return Pixels(parameters, _mixed(values), _grey(values.levels))
    if isinstance(base, (OnLevels, dist.Categorical)):
        inner = base.base_dist if isinstance(base, OnLevels) else base
        if isinstance(inner, dist.Categorical):
            count = inner.logits.shape[-1]
            logits = inner.logits.detach().double().reshape(num_data, -1, count).numpy()
            levels = _grey(count) if isinstance(base, OnLevels) else np.arange(count, dtype=np.float64)
            return Pixels(require_finite(logits), lambda rows: elementary.softmax(rows, -1), levels)
        if isinstance(inner, dist.Binomial) and isinstance(base, OnLevels):
            return Pixels(array_of(inner.logits, shape), _binomial(base.levels - 1), _grey(base.levels))
    if isinstance(base, dist.Binomial) and (base.total_count == base.total_count.max()).all():
        count = int(base.total_count.max())
        return Pixels(array_of(base.logits, shape), _binomial(count), np.arange(count + 1, dtype=np.float64))
    raise _refused(name, fn)


def _refused(name: str, fn: Any) -> ValueError:
    base = getattr(fn, "base_dist", fn)
    return ValueError(
        f"Expected values with finitely many levels, independent given the latents, at the observed site {name!r}; got "
        f"{type(base).__name__}. Bernoulli, Categorical, Binomial of one total_count, DiscretizedLogistic, "
        f"DiscretizedGaussian and, for grey values, DiscretizedLogisticMixture are compressed."
    )


def _grey(levels: int) -> Floats:
    return np.arange(levels) / (levels - 1)


def _edges(values: Rounded) -> Callable[[Floats], Floats]:
    family = FAMILIES[values.family]
    edges = (np.arange(1, values.levels) - 0.5) / (values.levels - 1)

    def weights(rows: Floats) -> Floats:
        below = elementary.cdf(family, (edges - rows[..., :1]) / rows[..., 1:2])  # (..., K - 1)
        return np.diff(below, axis=-1, prepend=0.0, append=1.0)

    return weights


def _mixed(values: Rounded) -> Callable[[Floats], Floats]:
    of_component = _edges(values)

    def weights(rows: Floats) -> Floats:  # (n, C, 3)
        shares = elementary.softmax(rows[..., 2], -1)
        total = shares[:, :1] * of_component(rows[:, 0])
        for c in range(1, shares.shape[1]):
            total = total + shares[:, c : c + 1] * of_component(rows[:, c])
        return total

    return weights


def _binomial(count: int) -> Callable[[Floats], Floats]:
    k = np.arange(count + 1, dtype=np.float64)
    # Python's logarithm of a whole number differs between machines: a product of its own factors does not.
    ways = elementary.log((count - k[:-1]) / k[1:])
    log_choose = np.concatenate([[0.0], np.add.accumulate(ways)])
    return lambda logits: elementary.softmax(log_choose + k * logits[..., None], -1)
