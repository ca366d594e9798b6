"""The bijection between vectors and the simplex by log ratios to the last part."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Transform, constraints


class AdditiveLogRatio(Transform):
    """y -> softmax(y_1, ..., y_{D-1}, 0), from real vectors to the open simplex; inverse y_d = log(z_d / z_D).

    Its inverse takes logarithms of the parts alone; that of `StickBreakingTransform` divides by what is left after
    d parts, a small difference of large numbers where the parts are unequal. |dz/dy| = prod_d z_d, over all D parts.

    Reference:
        Aitchison, Shen 1980, "Logistic-normal distributions: some properties and uses".

    Example:
        >>> AdditiveLogRatio()(torch.zeros(2))
        tensor([0.3333, 0.3333, 0.3333])
    """

    domain = constraints.real_vector
    codomain = constraints.simplex
    bijective = True

    def _call(self, x: Tensor) -> Tensor:
        return _with_zero(x).softmax(-1).clamp(min=torch.finfo(x.dtype).tiny)

    def _inverse(self, y: Tensor) -> Tensor:
        log_parts = y.clamp(min=torch.finfo(y.dtype).tiny).log()
        return log_parts[..., :-1] - log_parts[..., -1:]

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        return _with_zero(x).log_softmax(-1).sum(-1)

    def forward_shape(self, shape: torch.Size) -> torch.Size:
        return torch.Size((*shape[:-1], shape[-1] + 1))

    def inverse_shape(self, shape: torch.Size) -> torch.Size:
        return torch.Size((*shape[:-1], shape[-1] - 1))


def _with_zero(x: Tensor) -> Tensor:
    return torch.cat([x, torch.zeros_like(x[..., :1])], -1)
