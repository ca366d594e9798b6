"""Prior of binary latents."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import nn

from ..arguments.at_least import at_least
from ..distributions.one_hot import bernoulli


class BernoulliPrior(nn.Module):
    """Independent binary latents: codes of bits, each on or off.

    In training mode a binary Concrete relaxation between 0 and 1, in evaluation mode 0 or 1: what is trained, together
    with `BernoulliEncoder`, is a bound on log p(x) of the relaxed model; validation, `evaluate` and samples are those
    of the discrete one.

    Args:
        dim: number of latent dimensions, one binary variable each.
        temperature: of the relaxation; None draws 0 and 1 in training too (with `TraceGraph_ELBO`, for instance).
        learned: whether the probabilities are learned; 1/2 otherwise.

    Raises:
        ValueError: dim below 1, or a temperature of 0 or below.

    Reference:
        Maddison, Mnih, Teh 2017, "The Concrete distribution".

    Example:
        >>> BernoulliPrior(20).eval()().log_prob(torch.ones(20))  # 20 log(1/2)
        tensor(-13.8629)
    """

    def __init__(self, dim: int, temperature: float | None = 0.5, learned: bool = False) -> None:
        super().__init__()
        at_least(1, dim=dim)
        logits = torch.zeros(dim)
        bernoulli(logits, temperature)  # for its errors
        self.logits = nn.Parameter(logits) if learned else nn.Buffer(logits, persistent=False)
        self.temperature = temperature

    def forward(self) -> dist.Distribution:
        return bernoulli(self.logits, self.temperature if self.training else None)

    def extra_repr(self) -> str:
        learned = ", learned=True" if isinstance(self.logits, nn.Parameter) else ""
        return f"dim={len(self.logits)}, temperature={self.temperature}{learned}"
