"""Do draws look like data, and do they cover them? By the neighbours of each in a space of features."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..arguments.at_least import at_least
from .memorization import nearest

TOGETHER = 500  # draws, each compared with all data points at once


@dataclass(frozen=True)
class Fidelity:
    """How draws and data lie to each other; each data point has a ball that reaches to its k-th nearest other one.

    Attributes:
        precision: share of draws that lie in the ball of some data point: do they look like data?
        recall: share of data points that lie in the ball of some draw: are all kinds of data drawn?
        density: balls that a draw lies in, over k, on average; near 1 where draws are as data. Outliers count little.
        coverage: share of data points whose ball holds a draw. Of N draws from the distribution of N data points it is
            1 - (N - 1) ... (N - k) / ((2 N - 1) ... (2 N - k)) on average, 0.97 for k = 5.
        num_neighbors: k.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    num_neighbors: int

    def __str__(self) -> str:
        return (
            f"precision {self.precision:.3f}, recall {self.recall:.3f}, density {self.density:.3f}, coverage "
            f"{self.coverage:.3f} ({self.num_neighbors} neighbors)"
        )


def fidelity(draws: Tensor, x: Tensor, *, num_neighbors: int = 5) -> Fidelity:
    """Precision, recall, density and coverage of draws, by Euclidean distance.

    The numbers depend on the space: give features of a classifier, principal components or codes where the pixels' own
    distance means little, the same for both.

    Args:
        draws: of a model (M, ...).
        x: data that it was not trained on (N, ...), best with N = M.
        num_neighbors: k.

    Raises:
        ValueError: data points of different shapes, or not more of draws or data than neighbours.

    Reference:
        Kynkaanniemi and others 2019, "Improved precision and recall metric for assessing generative models"; Naeem and
        others 2020, "Reliable fidelity and diversity metrics for generative models".

    Example:
        >>> torch.manual_seed(0).initial_seed()
        0
        >>> x = torch.randn(200, 2)
        >>> print(fidelity(x + 100, x))
        precision 0.000, recall 0.000, density 0.000, coverage 0.000 (5 neighbors)
    """
    at_least(1, num_neighbors=num_neighbors)
    of_draws, of_data = (nearest(each, each, count=num_neighbors + 1)[0][:, -1] for each in (draws, x))  # itself is one
    others, inside, counts = x.flatten(1).double(), [], []
    covered, recalled = torch.zeros(2, len(x), dtype=torch.bool, device=x.device)
    for part, radius in zip(draws.flatten(1).double().split(TOGETHER), of_draws.split(TOGETHER), strict=True):
        distance = torch.cdist(part, others)  # (M', N)
        in_balls = distance <= of_data
        inside.append(in_balls.any(1))
        counts.append(in_balls.sum(1))
        covered |= in_balls.any(0)
        recalled |= (distance <= radius[:, None]).any(0)
    of_all = (torch.cat(inside), recalled, torch.cat(counts), covered)
    precision, recall, balls, coverage = (each.double().mean().item() for each in of_all)
    return Fidelity(precision, recall, balls / num_neighbors, coverage, num_neighbors)
