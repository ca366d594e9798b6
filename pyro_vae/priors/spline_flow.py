"""Neural spline flow prior."""

from __future__ import annotations

from collections.abc import Sequence

import pyro.distributions as dist
import torch
from torch import Tensor, nn

from ..arguments.at_least import at_least
from ..arguments.positive import positive
from ..distributions.chain import Chain
from ..distributions.spline import SMALLEST, spline
from ..networks import MLP


class SplineFlow(nn.Module):
    """A neural spline flow: for sharp or many-peaked densities, which take affine couplings many steps.

    p(z) = Normal(f(z); 0, I) |det df/dz|

    Each coupling passes one half of the dimensions through monotonic splines, whose knots are a function of the other
    half; the order of dimensions is reversed in between. Beyond the bound each map is the identity, so that the tails
    are those of the normal.

    Args:
        dim: number of latent dimensions, at least 2.
        num_transforms: number of couplings; 0 is the standard normal.
        num_bins: bins of each spline.
        bound: splines reach from -bound to bound.
        hidden: widths of each coupling's network.

    Raises:
        ValueError: dim below 2 (a coupling needs two halves), a negative num_transforms, a bound that is not positive,
            or num_bins not from 2 to 999.

    Reference:
        Durkan, Bekasov, Murray, Papamakarios 2019, "Neural spline flows".

    Example:
        >>> prior = SplineFlow(20)
        >>> prior().log_prob(torch.zeros(7, 5, 20)).shape
        torch.Size([7, 5])
    """

    def __init__(
        self, dim: int, num_transforms: int = 4, num_bins: int = 8, bound: float = 5.0, hidden: Sequence[int] = (64, 64)
    ) -> None:
        super().__init__()
        at_least(0, num_transforms=num_transforms)
        positive(bound=bound)
        if dim < 2:
            raise ValueError(
                f"Expected dim >= 2, since a coupling needs two halves; got {dim}. Use GaussianMixture instead."
            )
        if not 2 <= num_bins < 1 / SMALLEST:
            raise ValueError(f"Expected num_bins from 2 to {1 / SMALLEST - 1:.0f}; got {num_bins}.")
        self.chain = Chain(dim, (SplineCoupling(dim, num_bins, bound, hidden) for _ in range(num_transforms)))

    def forward(self) -> dist.Distribution:
        return self.chain()


class SplineCoupling(nn.Module):
    """z_1 = e_1, z_2 = spline(e_2; knots(e_1)), for the two halves of the dimensions."""

    def __init__(self, dim: int, num_bins: int, bound: float, hidden: Sequence[int]) -> None:
        super().__init__()
        self.bound = bound
        self.halves = [dim // 2, dim - dim // 2]
        self.network = MLP(self.halves[0], (self.halves[1], 3 * num_bins - 1), hidden)

    def forward(self, e: Tensor) -> Tensor:
        return self._map(e, inverse=False)[0]

    def inverse(self, z: Tensor) -> tuple[Tensor, Tensor]:
        return self._map(z, inverse=True)

    def _map(self, value: Tensor, *, inverse: bool) -> tuple[Tensor, Tensor]:
        kept, moved = value.split(self.halves, -1)
        moved, log_slope = spline(moved, self.network(kept), bound=self.bound, inverse=inverse)
        return torch.cat([kept, moved], -1), log_slope.sum(-1)
