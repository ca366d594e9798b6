"""Are draws copies of training data? What is nearest to them, and whether training data are nearer than others."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..arguments.at_least import at_least

TOGETHER = 500  # data points, each compared with all others at once


@dataclass(frozen=True)
class NearestShare:
    """How often training data are nearer than held-out data, see `nearest_share`.

    Attributes:
        value: share of the draws whose nearest data point is one of training; 0.5 where nothing is copied.
        standard_error: of a share of so many draws, sqrt(value (1 - value) / num_draws).
        num_draws: how many draws.
        num_each: how many training, and as many held-out data points they were compared with.
    """

    value: float
    standard_error: float
    num_draws: int
    num_each: int

    def __str__(self) -> str:
        return (
            f"nearest to training data: {self.value:.2f} +- {self.standard_error:.2f} of {self.num_draws:,} draws, "
            f"among {self.num_each:,} training and as many held-out data points (0.50 where nothing is copied)"
        )


def nearest(x: Tensor, among: Tensor, *, count: int = 1) -> tuple[Tensor, Tensor]:
    """Euclidean distances to the nearest of some data points, and which they are.

    Args:
        x: (N, ...).
        among: (M, ...), of the same shape each.
        count: neighbours, at most M.

    Returns:
        Distances and indices, (N, count), the nearest first.

    Raises:
        ValueError: data points of different shapes, or fewer of them than neighbours.

    Example:
        >>> nearest(torch.tensor([[0.0], [3.0]]), torch.tensor([[1.0], [5.0]]))[1].flatten()
        tensor([0, 0])
    """
    at_least(1, count=count)
    if len(among) < count:
        raise ValueError(f"Expected at least {count:,} data points, as many as neighbours; got {len(among):,}.")
    if x.shape[1:] != among.shape[1:]:
        raise ValueError(f"Expected data points of one shape; got {tuple(x.shape[1:])} and {tuple(among.shape[1:])}.")
    others, distances, places = among.flatten(1), [], []
    squares = others.square().sum(1)
    for part in x.flatten(1).split(TOGETHER):
        rounded = squares - 2 * part @ others.T  # good to find, not to measure
        near = rounded.topk(count, largest=False).indices
        each, order = (part[:, None] - others[near]).norm(dim=-1).sort(-1)
        distances.append(each)
        places.append(near.gather(1, order))
    return torch.cat(distances), torch.cat(places)


def nearest_share(draws: Tensor, train: Tensor, held_out: Tensor, *, seed: int = 0) -> NearestShare:
    """How often a draw is nearer to training data than to as many held-out data: a check for memorization.

    Both are from the data's distribution, so that draws of a model which has learned it without copying are as often
    nearer to the one as to the other, whatever they look like. A share far above one half means copies.

    Args:
        draws: of a model, or means (N, ...).
        train, held_out: data (M, ...); of the larger one a random subset is taken, for both to have the same number.
        seed: of this subset.

    Raises:
        ValueError: data points of different shapes, or none.

    Reference:
        Meehan, Chaudhuri, Dasgupta 2020, "A non-parametric test to detect data-copying in generative models".

    Example:
        >>> train, held_out = torch.randn(2, 50, 3)
        >>> nearest_share(train, train, held_out).value
        1.0
    """
    at_least(1, number_of_draws=len(draws))
    each = min(len(train), len(held_out))
    generator = torch.Generator().manual_seed(seed)
    parts = [data[torch.randperm(len(data), generator=generator)[:each].to(data.device)] for data in (train, held_out)]
    to_train, to_held_out = (nearest(draws, part)[0][:, 0] for part in parts)
    share = ((to_train < to_held_out).double() + 0.5 * (to_train == to_held_out).double()).mean().item()
    return NearestShare(share, (share * (1 - share) / len(draws)) ** 0.5, len(draws), each)
