"""Gaussians fitted to unnormalized densities, one for each data point, from gradients at their own draws."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

# Of draws (K, B, D): the log density (K, B), and its gradient (K, B, D).
ValueAndGradient = Callable[[Tensor], tuple[Tensor, Tensor]]

RIDGE = 0.3  # weight of the present Gaussian against what the draws say of the curvature
WIDEST = 4.0  # factor by which one step may raise the variance in any direction
NOISE = 2.0  # standard errors, at most one nat, by which a step may lower the ELBO and still pass as one that did not
APPROACH = 3  # steps from afar, by matched covariances; the others, from near, by regression


@dataclass(frozen=True)
class Gaussians:
    """Normal distributions over u, one for each data point.

    Attributes:
        mean: (B, D).
        root: (B, D, D), covariance = root @ root.T.
        inverse: (B, D, D), of root.
    """

    mean: Tensor
    root: Tensor
    inverse: Tensor

    @staticmethod
    def diagonal(mean: Tensor, scale: Tensor) -> Gaussians:
        """Independent dimensions with these means and scales (B, D)."""
        return Gaussians(mean, torch.diag_embed(scale), torch.diag_embed(1 / scale))

    def at(self, noise: Tensor) -> Tensor:
        """The draws (K, B, D) that belong to standard normal noise (K, B, D)."""
        return self.mean + torch.einsum("bij,kbj->kbi", self.root, noise)

    def log_prob(self, u: Tensor) -> Tensor:
        """Log densities (K, B) at u (K, B, D)."""
        noise = torch.einsum("bij,kbj->kbi", self.inverse, u - self.mean)
        return -(noise.square().sum(-1) + u.shape[-1] * math.log(2 * math.pi)) / 2 + self.log_det_inverse

    @property
    def log_det_inverse(self) -> Tensor:
        """log |det inverse|, (B,)."""
        return torch.linalg.slogdet(self.inverse).logabsdet

    def __getitem__(self, points: Any) -> Gaussians:
        """Those of some of the data points: indices or a mask."""
        return Gaussians(*(part[points] for part in vars(self).values()))

    def replaced(self, points: Tensor, others: Gaussians) -> Gaussians:
        """With others at some of the data points, by their numbers (P,)."""
        return self._joined(others, lambda mine, theirs: mine.index_copy(0, points, theirs))

    def widened(self, factor: float) -> Gaussians:
        """With all standard deviations times a factor."""
        return Gaussians(self.mean, factor * self.root, self.inverse / factor)

    def where(self, condition: Tensor, other: Gaussians) -> Gaussians:
        """These where the condition (B,) holds, the other's elsewhere."""
        return self._joined(other, functools.partial(_where, condition))

    def _joined(self, other: Gaussians, join: Callable[[Tensor, Tensor], Tensor]) -> Gaussians:
        return Gaussians(*map(join, vars(self).values(), vars(other).values()))


def fitted(
    density: ValueAndGradient, start: Gaussians, noise: Callable[[int], Tensor], *, num_steps: int = 8
) -> Gaussians:
    """Gaussians moved, turned and rescaled towards unnormalized densities by Newton steps on the ELBO.

    At draws u = mean + root e of the present Gaussian, the gradient of the log density in e tells of its mean curvature
    A there, without second derivatives: where the density is Gaussian, it is exactly h - A e, and N(mean + root A^-1 h,
    root A^-1 root^T) is that density. The first steps take for A what turns the covariance of the draws into that of
    their gradients, which is positive whatever the draws and converges from afar; the later ones the symmetric
    regression of gradients on draws, which noise in the gradients does not bias. Both are shrunk towards A = 1, so that
    fewer draws than dimensions still improve what they see. A step that lowers the ELBO of a data point by more than
    noise is taken back and tried at a quarter of its length.

    Args:
        density: log densities and gradients at draws (K, B, D).
        start: where the steps begin.
        noise: standard normal noise (K, B, D) for the step of a number; best in pairs of opposite sign, K about D.
        num_steps: evaluations of the density at K draws each.

    Returns:
        For each data point, the Gaussian with the highest ELBO on the way, within noise.

    Reference:
        Khan, Nielsen 2018, "Fast yet simple natural-gradient descent for variational inference" (the mean curvature);
        Cai, Modi, Margossian, Gower, Blei, Saul 2024, "Batch and match: black-box variational inference with a
        score-based divergence" (matched covariances).

    Example:
        >>> truth = torch.distributions.MultivariateNormal(
        ...     torch.tensor([3.0, -1.0]), torch.tensor([[1.0, 0.9], [0.9, 1.0]])
        ... )
        >>> def density(u):
        ...     u = u.detach().requires_grad_()
        ...     value = truth.log_prob(u)
        ...     return value.detach(), torch.autograd.grad(value.sum(), u)[0]
        >>> start = Gaussians.diagonal(torch.zeros(1, 2), torch.ones(1, 2))
        >>> fit = fitted(density, start, lambda step: torch.randn(20, 1, 2))
        >>> [round(number, 1) for number in (fit.root @ fit.root.mT).flatten().tolist()]
        [1.0, 0.9, 0.9, 1.0]
    """
    best = now = start
    length = torch.ones_like(start.mean[:, 0])
    reached, variance = torch.full_like(length, -math.inf), torch.zeros_like(length)  # the ELBO of the best
    step: tuple[Tensor, ...] = ()
    for number in range(num_steps):
        e = noise(number)
        value, gradient = density(now.at(e))
        draws = value + e.square().sum(-1) / 2 - now.log_det_inverse  # of the ELBO, up to a constant
        elbo, spread = draws.mean(0), draws.var(0) / len(e)
        within = (NOISE * (spread + variance).sqrt()).clamp(max=1).nan_to_num(1.0)
        better = elbo.isfinite() & gradient.isfinite().flatten(2).all(-1).all(0) & ~(elbo < reached - within)
        new = _step(now, e, gradient, matched=number < APPROACH)
        step = tuple(_where(better, *pair) for pair in zip(new, step or new, strict=True))
        best = now.where(better, best)
        reached, variance = torch.where(better, elbo, reached), torch.where(better, spread, variance)
        length = torch.where(better, (2 * length).clamp(max=1), length / 4)
        along, axes, values = step
        now = _moved(best, along, axes, values, length)
    return best


def _step(now: Gaussians, e: Tensor, gradient: Tensor, *, matched: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Newton's step from gradients at draws: along A's eigenvectors (B, D), these (B, D, D), A's eigenvalues (B, D)."""
    h = torch.einsum("bji,kbj->kbi", now.root, gradient.nan_to_num(0.0, 0.0, 0.0))
    here, there = e - e.mean(0), h - h.mean(0)
    identity = torch.eye(e.shape[-1], dtype=e.dtype, device=e.device)
    if matched:  # A C A = G, C and G the covariances of draws and gradients
        draws, gradients = ((_covariance(part, part) + RIDGE * identity) / (1 + RIDGE) for part in (here, there))
        root, inverse = _power(draws, 0.5), _power(draws, -0.5)
        curvature = inverse @ _power(root @ gradients @ root, 0.5) @ inverse
    else:  # A C + C A = -(G + G^T), G the covariance of gradients with draws
        values, axes = eigen(_covariance(here, here))
        rest = _covariance(there + here, here)  # what the present Gaussian does not explain
        rest = axes.mT @ (rest + rest.mT) @ axes / (values[..., None] + values[:, None] + 2 * RIDGE)
        curvature = identity - axes @ rest @ axes.mT
    at_mean = h.mean(0) + torch.einsum("bij,bj->bi", curvature, e.mean(0))
    values, axes = eigen((curvature + curvature.mT) / 2)
    return torch.einsum("bji,bj->bi", axes, at_mean), axes, values.clamp(min=1 / WIDEST)


def _moved(best: Gaussians, along: Tensor, axes: Tensor, values: Tensor, length: Tensor) -> Gaussians:
    """The Gaussian after a step of given lengths (B,), 1 for the whole one."""
    mean = best.mean + torch.einsum("bij,bj->bi", best.root @ axes, length[:, None] * along / values)
    # By a symmetric factor: axes of equal values are any, and with them would be the draws that belong to a noise.
    factor = values.pow(-length[:, None] / 2)[:, None]  # (B, 1, D)
    return Gaussians(mean, best.root @ (axes * factor @ axes.mT), axes / factor @ axes.mT @ best.inverse)


def _covariance(left: Tensor, right: Tensor) -> Tensor:
    """Mean outer products (B, D, D) of (K, B, D)."""
    return torch.einsum("kbi,kbj->bij", left, right) / len(left)


def _power(matrix: Tensor, exponent: float) -> Tensor:
    """A power of symmetric positive matrices (B, D, D)."""
    values, axes = eigen((matrix + matrix.mT) / 2)
    return (axes * values.clamp(min=1e-8).pow(exponent)[:, None]) @ axes.mT


def eigen(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues (B, D) and eigenvectors (B, D, D) of symmetric matrices, decomposed on the CPU.

    On a GPU torch takes such matrices one after the other, up to 2.11 all of more than 32 dimensions: 0.2 to 2 ms each,
    where LAPACK takes 0.06 ms for 40 dimensions.
    """
    values, axes = torch.linalg.eigh(matrix.cpu())
    return values.to(matrix.device), axes.to(matrix.device)


def _where(condition: Tensor, new: Tensor, old: Tensor) -> Tensor:
    return torch.where(condition.view(-1, *[1] * (new.dim() - 1)), new, old)
