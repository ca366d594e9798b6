"""Prior of categorical latents."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import nn

from ..distributions.one_hot import one_hot, one_hot_shape


class CategoricalPrior(nn.Module):
    """Independent categorical latents, one-hot: classes or codes instead of coordinates.

    In training mode a Concrete (Gumbel-softmax) relaxation, in evaluation mode the one-hot vectors themselves: what
    is trained, together with `CategoricalEncoder`, is a bound on log p(x) of the relaxed model; validation, `evaluate`
    and samples are those of the discrete one. The relaxed rate is never below the discrete one (with one temperature
    for prior and encoder it does not depend on it), so that variables are given up that the discrete model would use.

    One or two variables are better trained exactly, summed over: with temperature None in prior and encoder,
    ``fit(vae.model, config_enumerate(vae.guide), data)``, with `pyro.infer.config_enumerate`.

    Args:
        dim: number of latent dimensions D, variables times categories.
        num_categories: C, categories of each variable; by default one variable of D categories.
        temperature: of the relaxation; None draws one-hot vectors in training too.
        learned: whether the probabilities are learned; uniform otherwise.

    Raises:
        ValueError: dim is not divisible by num_categories, or a temperature of 0 or below.

    Reference:
        Maddison, Mnih, Teh 2017, "The Concrete distribution"; Jang, Gu, Poole 2017, "Categorical reparameterization
        with Gumbel-softmax".

    Example:
        >>> prior = CategoricalPrior(6, num_categories=3).eval()
        >>> prior().log_prob(torch.tensor([1.0, 0, 0, 0, 1, 0]))  # 2 log(1/3)
        tensor(-2.1972)
    """

    def __init__(
        self, dim: int, num_categories: int | None = None, temperature: float | None = 0.5, learned: bool = False
    ) -> None:
        super().__init__()
        logits = torch.zeros(one_hot_shape(dim, num_categories))
        self.logits = nn.Parameter(logits) if learned else nn.Buffer(logits, persistent=False)
        self.temperature = temperature
        one_hot(logits, temperature)  # for its errors

    def forward(self) -> dist.Distribution:
        return one_hot(self.logits, self.temperature if self.training else None)

    def extra_repr(self) -> str:
        learned = ", learned=True" if isinstance(self.logits, nn.Parameter) else ""
        sizes = f"dim={self.logits.numel()}, num_categories={self.logits.shape[1]}"
        return f"{sizes}, temperature={self.temperature}{learned}"
