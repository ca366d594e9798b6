"""Which state of a training is kept, and when to stop waiting for a better one."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from .fitted import Metrics
from .nonfinite import NonFiniteLoss

KEPT = ("epoch", "waited", "warmed_up")


class BestState:
    """The state of the lowest validation loss so far; without validation data, the latest one.

    A validation loss that is NaN or infinite is never selected, and the first one is warned of.

    Args:
        copy_state: makes a copy of the present state.
        kl_weight: final weight of the KL term; the validation loss is distortion + kl_weight * rate.
        warmup_steps: optimizer steps until the KL weight is final. Waiting for a better state starts then.

    Attributes:
        state: a copy of the best state; before the first epoch, of the state at the start.
        epoch: the epoch of that state, 0 for the start.
        waited: epochs since then, once the warm-up was over.
        warmed_up: whether it is over.
    """

    def __init__(self, copy_state: Callable[[], dict[str, Tensor]], kl_weight: float, warmup_steps: int) -> None:
        self.copy_state, self.kl_weight, self.warmup_steps = copy_state, kl_weight, warmup_steps
        self.state, self.epoch, self.waited, self.warmed_up = copy_state(), 0, 0, False
        self._lowest = math.inf
        self._not_finite: tuple[float, list[str]] | None = None  # the first such loss, and its sites

    def update(self, metrics: Metrics, sites: Sequence[str] = ()) -> None:
        """Take the present state if it is the best one.

        Args:
            metrics: of the epoch that ended: "epoch", "step" and, with validation data, their rate and distortion.
            sites: those whose log-probability is not finite in validation.
        """
        self.warmed_up = metrics["step"] >= self.warmup_steps
        loss = -math.inf  # without validation data, the latest state is the best
        if "validation_distortion" in metrics:
            rate = self.kl_weight * metrics["validation_rate"] if self.kl_weight else 0.0  # which may be infinite then
            loss = metrics["validation_distortion"] + rate
            if not math.isfinite(loss):
                if self._not_finite is None:
                    self._not_finite = loss, [*sites]
                    warnings.warn(_said(loss, sites, f"in epoch {metrics['epoch']}"), RuntimeWarning, stacklevel=3)
                loss = math.inf
        if loss < self._lowest or loss == -math.inf:
            self._lowest, self.state, self.epoch, self.waited = loss, self.copy_state(), int(metrics["epoch"]), 0
        elif self.warmed_up:
            self.waited += 1

    def get_state(self, present: int) -> dict[str, Any]:
        """A copy of all that is known; without the best state itself where that is the present one.

        Args:
            present: the epoch that is just over.
        """
        return {
            "state": None if self.epoch == present else self.state,
            "lowest": self._lowest,
            "not_finite": self._not_finite,
            **{name: getattr(self, name) for name in KEPT},
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Continue from a state of `get_state`, the pair being in the present one then."""
        self._lowest, self._not_finite = state["lowest"], state["not_finite"]
        for name in KEPT:
            setattr(self, name, state[name])
        self.state = self.copy_state() if state["state"] is None else state["state"]

    def require_one(self) -> None:
        """Raise `NonFiniteLoss` if no epoch had a finite validation loss."""
        if self.epoch == 0 and self._not_finite is not None:
            raise NonFiniteLoss(_said(*self._not_finite, "and no finite one in any epoch"))


def _said(loss: float, sites: Sequence[str], when: str) -> str:
    where = f", from the sites {[*sites]}" if sites else ""
    return (
        f"Expected a finite validation loss; got {loss} {when}{where}. Such a state is never selected. Look for "
        f"validation data unlike the training data, try a lower learning rate, or put a floor under the scales."
    )
