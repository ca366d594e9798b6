"""The settings of annealed chains, and the temperatures they pass."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..arguments.at_least import at_least
from ..output.progress import Progress, progress_bar
from .annealing_path import Start

STEEPNESS = 4.0  # of the sigmoid schedule (Grosse, Ghahramani, Adams 2015)
SHARE = 0.2  # of the sigmoid schedule in an adaptive one, so that no part of the path is left out

Schedule = Literal["sigmoid", "adaptive"]
Batches = list[tuple[list[int], Tensor]]


@dataclass(frozen=True)
class AnnealingSettings:
    """The settings of annealed chains; ``end`` is the last b of the path, the power of the likelihood."""

    num_chains: int
    num_temperatures: int
    start: Start
    schedule: Schedule
    num_leapfrog: int
    num_warmup_chains: int
    target_acceptance: float
    resample: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        at_least(
            1,
            num_chains=self.num_chains,
            num_temperatures=self.num_temperatures,
            num_leapfrog=self.num_leapfrog,
            num_warmup_chains=self.num_warmup_chains,
        )
        if not 0 < self.target_acceptance < 1:
            raise ValueError(f"Expected target_acceptance between 0 and 1; got {self.target_acceptance}.")
        if not 0 <= self.resample <= 1:
            raise ValueError(f"Expected resample, a share of num_chains, from 0 to 1; got {self.resample}.")
        if self.start not in ("guide", "prior"):
            raise ValueError(f"Expected start 'guide' or 'prior'; got {self.start!r}.")
        if self.schedule not in ("sigmoid", "adaptive"):
            raise ValueError(f"Expected schedule 'sigmoid' or 'adaptive'; got {self.schedule!r}.")
        if self.schedule == "adaptive" and self.num_warmup_chains < 2:
            raise ValueError("Expected num_warmup_chains >= 2 for an adaptive schedule, made from their spread; got 1.")

    def sigmoid(self) -> Tensor:
        """b_0 = 0 < ... < b_T = end, (T + 1,): a sigmoid, dense at both ends."""
        return self.end * sigmoid_schedule(self.num_temperatures)

    def batches(self, numbers: list[int], chunk_size: int) -> Batches:
        """Numbers of data points whose chains fit into a chunk; and the same, repeated up to one length for all
        batches, so that all run through the same graph."""
        at_least(1, chunk_size=chunk_size)
        most = max(1, chunk_size // max(self.num_chains, self.num_warmup_chains))
        length = math.ceil(len(numbers) / math.ceil(len(numbers) / most))
        parts = [numbers[i : i + length] for i in range(0, len(numbers), length)]
        return [(part, torch.tensor([*part, *part * (length // len(part))][:length])) for part in parts]

    def bar(self, num_points: int, *, progress: bool) -> Progress:
        """A progress bar over the temperatures of so many data points."""
        total = num_points * (self.num_temperatures - 1)
        return progress_bar(total, unit="step", shown=progress, description="annealing", scaled=True)


def sigmoid_schedule(num_temperatures: int) -> Tensor:
    """b_0 = 0 < ... < b_T = 1, (T + 1,): a sigmoid, dense at both ends."""
    steps = torch.linspace(-STEEPNESS, STEEPNESS, num_temperatures + 1, dtype=torch.float64).sigmoid()
    return (steps - steps[0]) / (steps[-1] - steps[0])


class Plan(NamedTuple):
    """What the warm-up has found, and what is then frozen."""

    temperatures: Tensor  # b of each data point (T + 1, B), float64
    steps: Tensor  # leapfrog steps (T - 1, B)


def adapted(temperatures: Tensor, log_steps: Tensor, variance: Tensor) -> Plan:
    """Temperatures that are dense where the log ratio of the ends varies most, so that each step adds as much noise.

    The noise of a step from b to b + d has variance d^2 Var_b[log p(x, z) - log q0(z)]: equal steps in the integral of
    its square root share it out evenly.

    Args:
        temperatures: b of the warm-up (T + 1, B).
        log_steps: log step sizes found there (T - 1, B).
        variance: of the log ratio over its chains (T - 1, B).

    Reference:
        Gelman, Meng 1998, "Simulating normalizing constants" (optimal paths by thermodynamic length).
    """
    width = max(1, len(variance) // 20)  # a few chains say little at one temperature: average over neighbours
    padded = torch.cat([variance[:1].expand(width, -1), variance, variance[-1:].expand(width, -1)])
    speed = padded.nan_to_num(0.0).double().unfold(0, 2 * width + 1, 1).mean(-1).sqrt()
    speed = torch.cat([speed[:1], speed, speed[-1:]])  # (T + 1, B)
    pieces = (speed[1:] + speed[:-1]) / 2 * temperatures.diff(dim=0)
    length = torch.cat([torch.zeros_like(speed[:1]), pieces.cumsum(0)])
    even = torch.linspace(0, 1, len(temperatures), dtype=torch.float64, device=length.device)[:, None].expand_as(length)
    length = (1 - SHARE) * length / length[-1].clamp(min=1e-12) + SHARE * even
    length = length / length[-1]
    found = interpolated(even, length, temperatures)
    found[0], found[-1] = 0.0, 1.0
    inner = interpolated(found[1:-1], temperatures[1:-1], log_steps.double())
    return Plan(found, inner.exp().to(log_steps.dtype))


def interpolated(at: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Piecewise linear functions through (x, y), constant outside, at the given points; one function a column."""
    if len(x) == 1:
        return y.expand_as(at).clone()
    right = torch.searchsorted(x.T.contiguous(), at.T.contiguous()).T.clamp(1, len(x) - 1)
    x0, x1, y0, y1 = x.gather(0, right - 1), x.gather(0, right), y.gather(0, right - 1), y.gather(0, right)
    return y0 + (y1 - y0) * ((at - x0) / (x1 - x0).clamp(min=1e-300)).clamp(0, 1)
