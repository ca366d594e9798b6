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
        history: one entry for each epoch, nats per data point: "epoch", "step", "loss" (mean training loss at the
            epoch's KL weight), "kl_weight" (at its end), "learning_rate", "grad_norm", "seconds", and, with validation
            data, "validation_elbo", "validation_rate", "validation_distortion"; elbo = -(rate + distortion). An
            epoch in which steps were compiled, mostly the first, has "compile_seconds", part of its "seconds".
        state: the best state, by name: parameters and buffers of the modules behind the pair ("pair.decoder...") and
            parameters of the param store that belong to none ("param.NAME", unconstrained).
        best_epoch: the epoch of that state: the lowest validation loss at full KL weight; the last one without
            validation data.
        stopped_early: whether patience ran out before the epochs did.
        warmed_up: whether the KL weight reached its final value. After a run that is shorter than its warm-up it did
            not, so that the state was trained for another objective than the one asked for.
        summed_over: names of the discrete sites that the objective, a `TraceEnum_ELBO`, sums over.
    """

    model: Callee
    guide: Callee
    history: list[Metrics]
    state: dict[str, Tensor]
    best_epoch: int
    stopped_early: bool
    warmed_up: bool
    summed_over: tuple[str, ...] = ()

    def __repr__(self) -> str:
        best, early = self.history[self.best_epoch - 1], ", stopped early" if self.stopped_early else ""
        elbo = f", validation ELBO {best['validation_elbo']:.2f}" if "validation_elbo" in best else ""
        of = f"best epoch {self.best_epoch} of {len(self.history)}{early}"
        weight = "" if self.warmed_up else f"; KL weight {self.history[-1]['kl_weight']:.3g}, still in its warm-up"
        over = f"; TraceEnum_ELBO sums over {', '.join(self.summed_over)}" if self.summed_over else ""
        return f"Fit({of}: loss {best['loss']:.2f}{elbo} nats per data point{weight}{over})"
