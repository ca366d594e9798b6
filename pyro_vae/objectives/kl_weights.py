"""The weight on the KL term, applied from outside the model and guide."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from pyro import poutine
from pyro.infer import ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..pairs.modules import Callee, under
from ..pairs.sites import counts, is_latent


class ScaleLatents(Messenger):
    """Effect handler that multiplies the scale of every latent site by a weight.

    Around model *and* guide it turns a loss distortion + rate into distortion + weight * rate, under `Trace_ELBO` and
    `TraceMeanField_ELBO` alike; around one of them alone it optimizes something else. Weight 0 is allowed.
    Observed sites and the plates' own subsampling sites are left as they are.

    Args:
        weight: a number, or a 0-dim tensor that may be changed in place between steps.
    """

    def __init__(self, weight: float | Tensor) -> None:
        super().__init__()
        self.weight = weight

    def _pyro_sample(self, msg: Any) -> None:
        if is_latent(msg):
            msg["scale"] = msg["scale"] * self.weight


def scale_latents(function: Callee, weight: float | Tensor) -> Callee:
    """The function under `ScaleLatents`."""
    return under(lambda: ScaleLatents(weight), function)


class WeightedRate(ELBO):
    """A KL weight for sums over sites that the model alone has, which no scale of a site can give.

    With such sites y summed out, the latents are the others, z, and

        distortion = -E_q[log p(x|z)],  p(x|z) = sum_y p(x, y, z) / p(z),    rate = E_q[log q(z|x) - log p(z)],
        p(z) = sum_y p(y, z),

    so that distortion + weight * rate is the objective's own loss plus weight - 1 times its loss of the model without
    its observed sites, at the same draws. A scale of a site would stand inside the logarithm of the sum.

    Args:
        elbo: an objective that sums over them, `TraceEnum_ELBO`.
        weight: a 0-dim tensor that may be changed in place between steps.
    """

    def __init__(self, elbo: Any, weight: Tensor) -> None:
        super().__init__(max_plate_nesting=elbo.max_plate_nesting)
        self.elbo_of_all, self.weight = elbo, weight

    def differentiable_loss(self, model: Callee, guide: Callee, *args: Any, **kwargs: Any) -> Tensor:
        """Distortion + weight * rate, of all data points together."""
        return self._weighted(self.elbo_of_all.differentiable_loss, model, guide, *args, **kwargs)

    def loss(self, model: Callee, guide: Callee, *args: Any, **kwargs: Any) -> float:
        """The number alone."""
        return float(self._weighted(self.elbo_of_all.loss, model, guide, *args, **kwargs))

    def _weighted(self, loss_of: Callable[..., Any], model: Callee, guide: Callee, *args: Any, **kwargs: Any) -> Any:
        rate = 0.0
        if self.weight != 1:
            devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
            with torch.random.fork_rng(devices):  # the draws that follow are the same
                latents = (poutine.block(f, hide_fn=lambda s: counts(s) and s["is_observed"]) for f in (model, guide))
                rate = loss_of(*latents, *args, **kwargs)  # without factors of the guide, which are no part of it
        return loss_of(model, guide, *args, **kwargs) + (self.weight - 1) * rate

    def loss_and_grads(self, model: Callee, guide: Callee, *args: Any, **kwargs: Any) -> float:
        """The number, its gradient added to those of the parameters."""
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return loss.item()

    def _get_trace(self, model: Callee, guide: Callee, args: Any, kwargs: Any) -> Any:
        return self.elbo_of_all._get_trace(model, guide, args, kwargs)


@dataclass(frozen=True)
class KLWarmup:
    """A KL weight that grows linearly from 0 to ``weight``, in epochs or in steps, and then stays.

    Args:
        epochs: length of the warm-up in epochs (may be a fraction).
        steps: length of the warm-up in optimizer steps; give one of the two.
        weight: final weight; 1 is the ELBO, above 1 a beta-VAE.

    Reference:
        Bowman and others 2016, "Generating sentences from a continuous space"; Sonderby and others 2016, "Ladder
        variational autoencoders"; Higgins and others 2017, "beta-VAE".

    Example:
        >>> schedule = KLWarmup(epochs=10).schedule(steps_per_epoch=100, total_steps=5000)
        >>> schedule(0), schedule(500), schedule(4999)
        (0.0, 0.5, 1.0)
    """

    epochs: float = 0
    steps: int = 0
    weight: float = 1.0

    def __post_init__(self) -> None:
        if self.epochs < 0 or self.steps < 0 or (self.epochs and self.steps):
            raise ValueError(
                f"Expected a warm-up in epochs or in steps, of at least 0; got epochs={self.epochs}, "
                f"steps={self.steps}."
            )
        if not (self.weight >= 0 and math.isfinite(self.weight)):
            raise ValueError(f"Expected a finite KL weight >= 0; got {self.weight}.")

    def length(self, steps_per_epoch: int) -> int:
        """How many optimizer steps the warm-up takes."""
        return self.steps or math.ceil(self.epochs * steps_per_epoch)

    def schedule(self, *, steps_per_epoch: int, total_steps: float) -> Callable[[int], float]:
        """The weight at each optimizer step, counted from 0; warns if the run ends before the warm-up does."""
        length = self.length(steps_per_epoch)
        if length > total_steps:
            warnings.warn(
                f"The KL warm-up takes {length:,} steps but the run ends after {total_steps:,}: the KL weight never "
                f"reaches {self.weight:g}. Shorten the warm-up (--kl-warmup) or train longer (--epochs).",
                stacklevel=3,
            )
        return lambda step: self.weight * min(1.0, step / length) if length else self.weight


class KLWeight:
    """A tensor that holds the weight of each step in turn, by a schedule, so that recorded steps read it anew."""

    def __init__(self, schedule: Callable[[int], float], device: torch.device) -> None:
        self.schedule, self.tensor = schedule, torch.ones((), device=device)

    def set(self, step: int) -> None:
        """Let the tensor hold the weight of a step."""
        self.tensor.fill_(self.schedule(step))
