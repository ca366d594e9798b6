"""A mixture of diagonal Gaussians whose draws have gradients."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor


class ImplicitMixture(dist.MixtureSameFamily):
    """A mixture of diagonal Gaussians with reparameterized draws.

    The conditional distribution functions F_d(z_d | z_1 .. z_{d-1}) map a draw to uniform noise. Held fixed, that noise
    makes z a function of the parameters: dz = -(dF/dz)^{-1} dF, with dF/dz lower triangular. (The gradient of Pyro's
    MixtureOfDiagNormals in the logits is biased where components differ in their scales.)

    Reference:
        Figurnov, Mohamed, Mnih 2018, "Implicit reparameterization gradients".
    """

    has_rsample = True

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        z: Tensor = self.sample(sample_shape)
        if not torch.is_grad_enabled():
            return z
        components = self.component_distribution.base_dist
        residual, jacobian = tails(
            z[..., None, :], self.mixture_distribution.logits[..., None], components.loc, components.scale
        )
        change = torch.linalg.solve_triangular(jacobian, (residual - residual.detach())[..., None], upper=False)
        return z - change.squeeze(-1)


def tails(z: Tensor, logits: Tensor, loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """The smaller of F_d and 1 - F_d for each d (..., D), differentiable in the parameters, and their Jacobian in z.

    Close to 1, F_d has no digits left to differ by. Components are at dim -2, z has one there: all are (..., C, D).
    """
    t = (z - loc) / scale
    log_density = -t.square() / 2 - scale.log()
    before = torch.cat([torch.zeros_like(log_density[..., :1]), log_density[..., :-1].cumsum(-1)], -1)
    weights = (logits + before).softmax(-2)  # of the components, given z_1 .. z_{d-1}
    with torch.no_grad():
        sign = 1 - 2 * ((weights * torch.special.ndtr(t)).sum(-2, keepdim=True) > 0.5).to(t.dtype)
    cdf = torch.special.ndtr(sign * t)
    tail = (weights * cdf).sum(-2)  # (..., D)
    with torch.no_grad():
        # A change of z_j moves the weights of all later dimensions d, and through its own component F_j.
        moved = (weights * (cdf - tail[..., None, :])).mT @ (-t / scale)
        own = (sign * weights * log_density.exp()).sum(-2) / (2 * torch.pi) ** 0.5
        own = torch.where(own == 0, torch.finfo(own.dtype).tiny, own)
        jacobian = moved.tril(-1) + torch.diag_embed(own)
    return tail, jacobian
