"""An encoder for data with missing values."""

from __future__ import annotations

from collections.abc import Callable

import pyro.distributions as dist
from torch import Tensor, nn


class ZeroImputed(nn.Module):
    """q(z|x) that sees zeros where values of x are nan: for data with missing values, beside `Masked`.

    Args:
        encoder: q(z|x) for complete data; it is trained on zeros in place of what is missing.

    Reference:
        Nazabal, Olmos, Ghahramani, Valera 2020, "Handling incomplete heterogeneous data using VAEs".

    Example:
        >>> import torch
        >>> from pyro_vae.encoders import GaussianEncoder
        >>> ZeroImputed(GaussianEncoder(3, 2))(torch.tensor([[1.0, torch.nan, 0.0]])).event_shape
        torch.Size([2])
    """

    def __init__(self, encoder: Callable[[Tensor], dist.Distribution]) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> dist.Distribution:
        return self.encoder(x.where(~x.isnan(), 0.0))
