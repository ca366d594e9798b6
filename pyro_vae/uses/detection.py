"""How well a score tells anomalies from normal data: ROC curve, AUC and average precision, with intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..arguments.at_least import at_least

LEVEL = 0.95


@dataclass(frozen=True)
class Share:
    """A number from 0 to 1, with its 95% bootstrap interval over data points."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class Detection:
    """How well one score tells anomalies from normal data.

    Attributes:
        auc: area under the ROC curve: the probability that an anomaly has a higher score than a normal data point.
            1/2 by chance; below, the score is higher for what is normal.
        average_precision: mean precision over the recalls; by chance the share of anomalies, `prevalence`.
        false_positive_rate, true_positive_rate: the ROC curve, (T,) each.
        num_normal, num_anomalous: data points.
    """

    auc: Share
    average_precision: Share
    false_positive_rate: Tensor = field(repr=False)
    true_positive_rate: Tensor = field(repr=False)
    num_normal: int
    num_anomalous: int

    @property
    def prevalence(self) -> float:
        """Share of anomalies, which the average precision depends on."""
        return self.num_anomalous / (self.num_normal + self.num_anomalous)

    def to_json(self) -> dict[str, Any]:
        """Numbers alone, without the curve."""
        counts = {"num_normal": self.num_normal, "num_anomalous": self.num_anomalous}
        return {"auc": asdict(self.auc), "average_precision": asdict(self.average_precision), **counts}


def detect(
    scores: Mapping[str, Tensor], anomalous: Tensor, *, num_resamples: int = 1000, seed: int = 0
) -> dict[str, Detection]:
    """Compare scores by how well they tell anomalies from normal data.

    Intervals are percentiles over resamples of the data points, anomalies and normal ones each by themselves, the same
    for all scores. Where a score errs nowhere, the interval is a point: so many data points show no error, which is not
    to say that there is none.

    Args:
        scores: (N,) by name, higher for what is less normal.
        anomalous: which are anomalies, (N,), bool.
        num_resamples: of the bootstrap.
        seed: of the resamples.

    Returns:
        A `Detection` by the name of each score.

    Raises:
        ValueError: fewer than two anomalies or normal data points, another number of scores, or one that is not finite.

    Reference:
        Fawcett 2006, "An introduction to ROC analysis"; Davison, Hinkley 1997, "Bootstrap methods and their
        application".

    Example:
        >>> scores = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
        >>> found = detect({"a": scores, "b": -scores}, torch.tensor([False, False, True, False, True]))
        >>> round(found["a"].auc.value, 3), round(found["b"].auc.value, 3)  # 5 of 6 pairs are in order
        (0.833, 0.167)
    """
    # A second of import, which other commands need not wait for.
    from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

    at_least(1, num_resamples=num_resamples)
    labels = anomalous.cpu().numpy().astype(bool)
    groups = [np.flatnonzero(labels == kind) for kind in (False, True)]
    if min(map(len, groups)) < 2:
        raise ValueError(
            f"Expected at least 2 anomalies and 2 normal data points, for errors; got {len(groups[1])} and "
            f"{len(groups[0])}."
        )
    values = {name: _checked(name, each, len(labels)) for name, each in scores.items()}
    draws = np.random.default_rng(seed)
    weights = np.zeros((num_resamples, len(labels)), dtype=np.int32)  # how often each data point is in a resample
    for row in weights:
        for group in groups:
            row += np.bincount(draws.choice(group, len(group)), minlength=len(labels)).astype(np.int32)
    found = {}
    for name, each in values.items():
        false_positive, true_positive = map(torch.from_numpy, roc_curve(labels, each)[:2])
        resampled = areas(labels, each, weights)
        auc = _with_interval(float(roc_auc_score(labels, each)), resampled[0])
        precision = _with_interval(float(average_precision_score(labels, each)), resampled[1])
        found[name] = Detection(auc, precision, false_positive, true_positive, *map(len, groups))
    return found


def areas(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUC and average precision with each data point counted so often, one pair for each row of weights (R, N).

    What scikit-learn gives with `sample_weight`, for all resamples with one sort: thousands of calls would take
    minutes.
    """
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.diff(scores[order], prepend=np.inf))  # equal scores share a threshold
    areas = []
    for row in weights:
        true, false = (np.add.reduceat(row[order] * (labels == kind)[order], starts) for kind in (True, False))
        found, alarms = true.cumsum(), false.cumsum()
        before = alarms[-1] - alarms  # normal data points below each threshold
        auc = (true * (before + false / 2)).sum() / (found[-1] * alarms[-1])
        precision = (true * found / np.maximum(found + alarms, 1)).sum() / found[-1]
        areas.append((auc, precision))
    auc, precision = np.array(areas).T
    return auc, precision


def _checked(name: str, scores: Tensor, count: int) -> np.ndarray:
    if scores.shape != (count,):
        raise ValueError(f"Expected a score {name!r} for each of {count:,} data points; got {tuple(scores.shape)}.")
    if bad := int((~scores.isfinite()).sum()):
        raise ValueError(
            f"Expected finite scores; {name!r} is not for {bad:,} of {count:,} data points. Leave them out, or the "
            f"score."
        )
    return scores.detach().double().cpu().numpy()


def _with_interval(value: float, resampled: np.ndarray) -> Share:
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Share(value, float(low), float(high))
