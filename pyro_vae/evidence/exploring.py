"""Modes of a posterior that no proposal visits: found by climbing from draws of the prior."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

CLIMB_STEPS = 12
FIRST_STEP, LARGEST_STEP = 0.3, 2.0  # of a climb, in each unconstrained coordinate
UNCOVERED = 20.0  # weight of a point, relative to the mean weight, from which a proposal hardly covers it
NEGLIGIBLE = 0.02  # share of the evidence that may lie at such points: log p(x) is too low by at most that, in nats


def climbed(joint_and_gradient: Callable[[Tensor], tuple[Tensor, Tensor]], starts: Tensor) -> Tensor:
    """The highest points (C, B, D) on climbs of a log joint density from starts (C, B, D).

    The steps follow the signs of the gradient alone, coordinate by coordinate (Riedmiller, Braun 1993, "A direct
    adaptive method for faster backpropagation learning: the RPROP algorithm"), so that scales do not matter.
    """
    u = starts.clone()
    optimizer = torch.optim.Rprop([u], lr=FIRST_STEP, step_sizes=(1e-4, LARGEST_STEP))
    top, highest = starts, torch.full_like(starts[..., 0], -math.inf)
    for _ in range(CLIMB_STEPS):
        joint, gradient = joint_and_gradient(u)
        higher = joint > highest  # a comparison with nan is false
        top, highest = torch.where(higher[..., None], u, top), torch.where(higher, joint, highest)
        u.grad = -gradient.nan_to_num(0.0, 0.0, 0.0)
        optimizer.step()
    return top


def uncovered(log_weights: Tensor, log_mean: Tensor) -> Tensor:
    """Where points are hardly covered by a proposal (K, B): by its log weights there (K, B), and their log mean (B,).

    It says nothing of the mass there. The top of a mode that is covered has a large weight, too, if the proposal is
    wider: in eight dimensions a factor of 20 takes scales that are 1.45 times as large.
    """
    return log_weights - log_mean > math.log(UNCOVERED)


def share_uncovered(log_weights: Tensor, log_ratios: Tensor, log_mean: Tensor) -> Tensor:
    """Share of the evidence that lies where a proposal q hardly covers it (B,), from draws u_k of another one, g.

    sum_k [p(x, u_k) / q(u_k) > 20 m] p(x, u_k) / g(u_k) / (K m),  m the mean weight of q's own draws

    By log weights log p(x, u) / q(u) and log ratios log p(x, u) / g(u), (K, B), and the log mean log m, (B,).
    """
    there = torch.where(uncovered(log_weights, log_mean), log_ratios, -math.inf)
    return (there.logsumexp(0) - math.log(len(there)) - log_mean).exp()
