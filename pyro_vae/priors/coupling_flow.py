"""RealNVP prior."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from pyro.distributions.transforms import Permute, affine_coupling
from torch import nn

from ..arguments.at_least import at_least


class CouplingFlow(nn.Module):
    """A chain of affine couplings (RealNVP): a flexible smooth density, as fast to sample as to score.

    p(z) = Normal(f(z); 0, I) |det df/dz|

    Each coupling shifts and scales one half of the dimensions by a function of the other half; the order of
    dimensions is reversed in between, so that halves take turns.

    Args:
        dim: number of latent dimensions, at least 2.
        num_transforms: number of couplings; 0 is the standard normal.
        hidden: widths of each coupling's network.

    Raises:
        ValueError: dim below 2 (a coupling needs two halves) or a negative num_transforms.

    Reference:
        Dinh, Sohl-Dickstein, Bengio 2017, "Density estimation using real NVP"; as a prior: Chen and others 2017,
        "Variational lossy autoencoder".

    Example:
        >>> prior = CouplingFlow(20)
        >>> prior().log_prob(torch.zeros(7, 5, 20)).shape
        torch.Size([7, 5])
    """

    def __init__(self, dim: int, num_transforms: int = 6, hidden: Sequence[int] = (64, 64)) -> None:
        super().__init__()
        if dim < 2:
            raise ValueError(
                f"Expected dim >= 2, since a coupling needs two halves; got {dim}. Use GaussianMixture instead."
            )
        at_least(0, num_transforms=num_transforms)
        self.couplings = nn.ModuleList(affine_coupling(dim, list(hidden)) for _ in range(num_transforms))
        # Buffers follow .to(device); a Permute keeps its permutation as a plain tensor, so it is made anew each time.
        self.loc = nn.Buffer(torch.zeros(dim), persistent=False)
        self.reverse = nn.Buffer(torch.arange(dim - 1, -1, -1), persistent=False)

    def forward(self) -> dist.Distribution:
        transforms = [step for coupling in self.couplings for step in (coupling, Permute(self.reverse))]
        return dist.TransformedDistribution(dist.Normal(self.loc, 1.0).to_event(1), transforms)

    def extra_repr(self) -> str:
        return f"dim={len(self.loc)}, num_transforms={len(self.couplings)}"
