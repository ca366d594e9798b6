"""VampPrior: a mixture of the encoder's own posteriors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..distributions.mixture import mixture
from ..pairs.contexts import once_in_evaluation


class VampPrior(nn.Module):
    """A mixture of the encoder's own posteriors at learned pseudo-inputs: a strong first choice for images.

    p(z) = sum_c w_c q(z|u_c)

    Sampled as it is defined: a component by its weight, then z from that component's q.

    Args:
        encoder: the encoder of the same model; shared, not copied.
        pseudo_inputs: (N, *event_shape), training data; the whole set can be passed.
        num_components: C; by default 500, or all of the pseudo_inputs where there are fewer.
        start: where the pseudo-inputs start: "data" takes C of them at random; "random" draws each value from a
            normal with the mean and standard deviation that it has over all of them.
        learn_inputs: train the pseudo-inputs; else they stay where they start, and only the encoder moves.
        learn_weights: train the weights w_c; else they are equal.
        seed: of the start; the global random state is not touched.

    Raises:
        ValueError: num_components below 1, or with start="data" more than there are pseudo_inputs.

    Reference:
        Tomczak, Welling 2018, "VAE with a VampPrior" (there with equal weights).

    Example:
        >>> from pyro_vae.encoders import GaussianEncoder
        >>> images = torch.rand(100, 1, 8, 8)
        >>> VampPrior(GaussianEncoder((1, 8, 8), 20), images, num_components=30)().event_shape
        torch.Size([20])
    """

    def __init__(
        self,
        encoder: Callable[[Tensor], dist.Distribution],
        pseudo_inputs: Tensor,
        num_components: int | None = None,
        start: Literal["data", "random"] = "data",
        learn_inputs: bool = True,
        learn_weights: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        count = min(500, len(pseudo_inputs)) if num_components is None else num_components
        if start not in ("data", "random"):
            raise ValueError(f"Expected start 'data' or 'random'; got {start!r}.")
        if not count >= 1 or (start == "data" and count > len(pseudo_inputs)) or not len(pseudo_inputs):
            raise ValueError(
                f"Expected num_components from 1 to {len(pseudo_inputs):,}, the number of pseudo_inputs; got "
                f"{count:,}. Give fewer components or more pseudo_inputs, or start='random'."
            )
        images, generator = pseudo_inputs.float(), torch.Generator().manual_seed(seed)
        if start == "data":
            inputs = images[torch.randperm(len(images), generator=generator)[:count].to(images.device)].clone()
        else:
            noise = torch.randn(count, *images.shape[1:], generator=generator).to(images.device)
            inputs = images.mean(0) + images.std(0, correction=0) * noise
        self.encoder = encoder
        weights = inputs.new_zeros(count)
        self.pseudo_inputs = nn.Parameter(inputs) if learn_inputs else nn.Buffer(inputs)
        self.logits = nn.Parameter(weights) if learn_weights else nn.Buffer(weights)

    def forward(self) -> dist.Distribution:
        return once_in_evaluation(self, lambda: mixture(self.logits, self.encoder(self.pseudo_inputs)))

    def extra_repr(self) -> str:
        learned = {"learn_inputs": self.pseudo_inputs, "learn_weights": self.logits}
        fixed = [f", {name}=False" for name, tensor in learned.items() if not isinstance(tensor, nn.Parameter)]
        return f"num_components={len(self.logits)}{''.join(fixed)}"
