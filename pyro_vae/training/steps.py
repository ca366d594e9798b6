"""Steps of SVI that stop where numbers are not finite and say which, without waiting for a GPU at each step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro.infer import ELBO, SVI
from torch import Tensor

from ..compiled.elbo import CompiledELBO
from ..compiled.recorded import Recorded
from ..pairs.batch import Points
from ..pairs.modules import Callee
from .fused_step import FusedStep
from .nonfinite import NonFiniteLoss, not_finite_at, sites_not_finite
from .optimizer import NonFiniteGradient, OneOptimizer
from .sharing import ALONE, Share
from .trials import run_pair


class Steps:
    """Takes steps of SVI, whose losses are read later.

    Reading a loss makes the host wait for the device. Until then a step whose loss or gradient is not finite changes no
    parameter: `OneOptimizer` with ``check_every`` above 1 skips it on the device. With 1, each loss is read at once and
    a step that is not finite is not taken.

    Args:
        objective: of a `CompiledELBO` the settings are used, to record the choice of data and the optimizer's update
            (`FusedStep`) along with it.
        batch_of: the batch for what a step takes: indices of data points (B,), or the data points.
        share: what this process takes of each batch. With others, the update of the parameters follows the graph of
            their gradients, which are summed in between.
        full_batch: only batches of this size are compiled: the last, smaller batch of an epoch is not worth a graph of
            its own.

    Attributes:
        taken: number of steps so far.
        full_taken: those of them with full batches.
        recorded: loss and gradients of full batches, recorded and compiled; None where steps are plain.
    """

    def __init__(
        self,
        model: Callee,
        guide: Callee,
        optimizer: OneOptimizer,
        objective: ELBO,
        batch_of: Callable[[Any], Points],
        *,
        full_batch: int,
        share: Share = ALONE,
    ) -> None:
        elbo = objective.elbo if isinstance(objective, CompiledELBO) else objective

        def loss_and_grads(taken: Points) -> Tensor | float:
            """The loss of a batch; gradients go to the parameters."""
            return elbo.loss_and_grads(model, guide, batch_of(taken))

        def of_the_share(taken: Points) -> Tensor | float:
            """The same of this process's part of the batch."""
            with share.drawing(len(taken)):
                return elbo.loss_and_grads(model, guide, batch_of(taken[share.rows(len(taken))]))

        self.svi = SVI(model, guide, optimizer, objective.loss, loss_and_grads=self._loss_and_grads)
        self.optimizer, self.batch_of, self.share = optimizer, batch_of, share
        self.plain = loss_and_grads if share.count == 1 else of_the_share
        self.recorded: Recorded | None = None
        if isinstance(objective, CompiledELBO):
            self.recorded = objective.recording(self.plain, model, guide)
            self.fused = FusedStep(self.recorded, optimizer)
        self.full_batch = full_batch
        self.taken = self.full_taken = 0
        self._unread: list[Points] = []  # what each step took whose loss is not read yet
        self._losses: list[Tensor | float] = []

    @property
    def compile_seconds(self) -> float:
        """Time spent recording and compiling so far."""
        return 0.0 if self.recorded is None else self.recorded.compile_seconds

    def take(self, batch: Points) -> None:
        """One step for the data points with these indices (B,), or for these data points (B, ...); a `NonFiniteLoss` if
        its loss or gradient, or those of a step not read yet, are NaN or infinite."""
        self.taken += 1
        self.full_taken += len(batch) == self.full_batch
        self._unread.append(batch)
        try:
            if not self._take_fused(batch):
                self.svi.step(batch)
        except (NonFiniteLoss, NonFiniteGradient, ValueError) as error:  # ValueError: Pyro's check of parameters, data
            step, culprit = self._find()
            sites = self._sites(self.batch_of(culprit))
            if isinstance(error, ValueError) and not sites:
                raise
            if isinstance(error, NonFiniteLoss) and not sites:  # a graph says so of values outside a support
                self.plain(culprit)  # in Pyro's own words
            raise not_finite_at(step, sites) from error

    def read(self) -> list[float]:
        """The losses not read yet, in the order of their steps, in nats summed over the data points of each; a
        `NonFiniteLoss` if one of them, or a gradient since the last reading, is NaN or infinite."""
        losses, cause = self._floats(), None
        try:
            self.optimizer.check()
        except NonFiniteGradient as error:
            cause = error
        if cause or not all(map(math.isfinite, losses)):
            step, culprit = self._find()
            raise not_finite_at(step, self._sites(self.batch_of(culprit))) from cause
        self._unread, self._losses = [], []
        return losses

    def _take_fused(self, batch: Points) -> bool:
        """One step from one graph, if there is one."""
        if self.recorded is None or len(batch) != self.full_batch or self.share.count > 1:
            return False
        result = self.fused(batch)
        if result is None:
            return False
        loss, norm, looked_at = result.unbind()
        self._note(loss)
        self.optimizer.stepped(norm, looked_at)
        return True

    def _loss_and_grads(self, model: Callee, guide: Callee, batch: Points) -> float:
        loss_and_grads = self.recorded if self.recorded and len(batch) == self.full_batch else self.plain
        loss = loss_and_grads(batch)
        if self.share.count > 1:
            loss = self.share.gradients(loss, len(batch))
        if self._note(loss):
            self.optimizer.watch(torch.as_tensor(loss))
        return 0.0  # SVI returns it as a number, and reading the loss is left to us

    def _note(self, loss: Tensor | float) -> bool:
        """Keep the loss of a step; whether it waits to be read."""
        waits = isinstance(loss, Tensor) and self.optimizer.check_every > 1
        self._losses.append(loss if waits else float(loss))
        if not waits and not math.isfinite(self._losses[-1]):
            raise NonFiniteLoss(f"the loss is {self._losses[-1]}")
        return waits

    def _floats(self) -> list[float]:
        """All losses not read yet, in one transfer."""
        waiting = [loss for loss in self._losses if isinstance(loss, Tensor)]
        known = iter(torch.stack(waiting).tolist() if waiting else [])
        return [next(known) if isinstance(loss, Tensor) else loss for loss in self._losses]

    def _find(self) -> tuple[str, Points]:
        """The step that is not finite, in words, and what it took; of the last step if no loss tells."""
        first = self.taken - len(self._unread) + 1
        for i, loss in enumerate(self._floats()):
            if not math.isfinite(loss):
                return f"step {first + i}", self._unread[i]
        step = f"step {self.taken}" if first == self.taken else f"one of the steps {first} to {self.taken}"
        return step, self._unread[-1]

    def _sites(self, batch: Points) -> list[str]:
        """The sites whose log-probability is not finite."""
        # Validation would stop at the first bad parameter; without it every site can be looked at.
        with torch.no_grad(), pyro.validation_enabled(False):
            return sites_not_finite(*run_pair(self.svi.model, self.svi.guide, batch))
