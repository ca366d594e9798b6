"""Modes of a posterior that no proposal visits: found by climbing from draws of the prior."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

CLIMB_STEPS = 12
FIRST_STEP, LARGEST_STEP = 0.3, 2.0  # of a climb, in each unconstrained coordinate
UNCOVERED = 20.0  # weight of a mode, relative to the mean weight, from which its proposal hardly covers it


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


def uncovered(at_tops: Tensor, log_weights: Tensor) -> Tensor:
    """Whether a mode is hardly covered by a proposal (B,): by its log weights at the tops of climbs (C, B), and those
    of its own draws (K, B)."""
    mean = log_weights.logsumexp(0) - math.log(len(log_weights))
    return at_tops.amax(0) - mean > math.log(UNCOVERED)
