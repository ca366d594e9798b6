"""A guide mixed with the prior."""

from __future__ import annotations

from typing import Any

import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..pairs.batch import Points
from ..pairs.modules import Callee
from ..pairs.scoring import traces
from ..pairs.sites import is_latent


class _FromPrior(Messenger):
    """Gives the latents of a model, particle by particle, a draw of the guide or one of the prior."""

    def __init__(self, guide_trace: poutine.Trace, from_prior: Tensor) -> None:
        super().__init__()
        self.guide_trace, self.from_prior = guide_trace, from_prior

    def _pyro_sample(self, msg: Any) -> None:
        if is_latent(msg) and msg["name"] in self.guide_trace:
            from_prior = self.from_prior.reshape(self.from_prior.shape + (1,) * msg["fn"].event_dim)
            # Sites that depend on others see those of their own particle, so this is a draw of the joint prior.
            msg["value"] = torch.where(from_prior, msg["fn"].sample(), self.guide_trace.nodes[msg["name"]]["value"])
            msg["done"] = True


def mixed_traces(
    model: Callee, guide: Callee, x: Points, share: float, shape: tuple[int, ...]
) -> tuple[poutine.Trace, poutine.Trace]:
    """As `traces`, with that share of the draws (of the given shape) from the prior; the guide is scored there, too."""
    _, guide_trace = traces(model, guide, x)
    from_prior = torch.rand(shape, device=x.device) < share
    with _FromPrior(guide_trace, from_prior):
        model_trace = poutine.trace(model).get_trace(x)
    return model_trace, poutine.trace(poutine.replay(guide, trace=model_trace)).get_trace(x)
