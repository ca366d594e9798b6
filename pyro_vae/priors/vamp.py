"""VampPrior: a mixture of the encoder's own posteriors."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from .mixture import mixture


class VampPrior(nn.Module):
    """p(z) = sum_c w_c q(z|u_c): the encoder applied to learned pseudo-inputs u_c, with learned weights.

    Sampled as it is defined: a component by its weight, then z from that component's q.

    Args:
        encoder: the encoder of the same model; shared, not copied.
        pseudo_inputs: (C, *event_shape), where the pseudo-inputs start: images of the training data.
        num_components: C, that many rows of pseudo_inputs at random, so that the whole training set can be passed;
            by default 500, or all of them where there are fewer.
        seed: of that choice; the global random state is not touched.

    Raises:
        ValueError: num_components below 1, or more than there are rows.

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
        seed: int = 0,
    ) -> None:
        super().__init__()
        count = min(500, len(pseudo_inputs)) if num_components is None else num_components
        if not 1 <= count <= len(pseudo_inputs):
            raise ValueError(
                f"Expected num_components from 1 to {len(pseudo_inputs):,}, the number of pseudo_inputs; got "
                f"{count:,}. Give fewer components or more images."
            )
        chosen = torch.randperm(len(pseudo_inputs), generator=torch.Generator().manual_seed(seed))[:count]
        self.encoder = encoder
        self.pseudo_inputs = nn.Parameter(pseudo_inputs[chosen.to(pseudo_inputs.device)].float().clone())
        self.logits = nn.Parameter(torch.zeros(count))

    def forward(self) -> dist.Distribution:
        return mixture(self.logits, self.encoder(self.pseudo_inputs))

    def extra_repr(self) -> str:
        return f"num_components={len(self.logits)}"
