"""What `fit` returns."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ..pairs.modules import Callee

Metrics = dict[str, float]


@dataclass(frozen=True, repr=False)
class Fit:
    """What happened in `fit`.

    Attributes:
        model, guide: the trained pair, ready for `log_marginal`: the callables that were given, where they are methods
            of modules; for plain functions, the same functions bound to the trained parameters.
        history: one entry for each epoch, nats per image: "epoch", "step", "loss" (mean training loss at the
            epoch's KL weight), "kl_weight" (at its end), "learning_rate", "grad_norm", "seconds", and, with validation
            images, "validation_elbo", "validation_rate", "validation_distortion"; elbo = -(rate + distortion). An
            epoch in which steps were compiled, mostly the first, has "compile_seconds", part of its "seconds".
        state: the best state, by name: parameters and buffers of the modules behind the pair ("pair.decoder...") and
            parameters of the param store that belong to none ("param.NAME", unconstrained).
        best_epoch: the epoch of that state: the lowest validation loss at full KL weight; the last one without
            validation images.
        stopped_early: whether patience ran out before the epochs did.
    """

    model: Callee
    guide: Callee
    history: list[Metrics]
    state: dict[str, Tensor]
    best_epoch: int
    stopped_early: bool

    def __repr__(self) -> str:
        best, early = self.history[self.best_epoch - 1], ", stopped early" if self.stopped_early else ""
        elbo = f", validation ELBO {best['validation_elbo']:.2f}" if "validation_elbo" in best else ""
        of = f"best epoch {self.best_epoch} of {len(self.history)}{early}"
        return f"Fit({of}: loss {best['loss']:.2f}{elbo} nats per image)"
