"""A mixture of diagonal Gaussians whose draws have gradients."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor


class ImplicitMixture(dist.MixtureSameFamily):
    """A mixture of diagonal Gaussians with reparameterized draws.

    The means and scales get the gradient of z = m_c + s_c * noise, c the component drawn. The weights get theirs
    implicitly: the conditional distribution functions F_d(z_d | z_1 .. z_{d-1}) map z to uniform noise; held fixed,
    that makes z a function of the weights, dz = -(dF/dz)^{-1} dF, with dF/dz lower triangular. To shift weight between
    modes it moves draws across the gap, so that this gradient has rare, large values where modes lie further apart than
    some eight scales.

    (Pyro's MixtureOfDiagNormals is not used: where components differ in scale, its gradient in the logits is biased.)

    Reference:
        Figurnov, Mohamed, Mnih 2018, "Implicit reparameterization gradients".
    """

    has_rsample = True

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        component = self.mixture_distribution.sample(sample_shape)[..., None, None].expand(
            *sample_shape, *self.batch_shape, 1, *self.event_shape
        )
        draws = self.component_distribution.rsample(sample_shape)  # (..., C, D)
        z: Tensor = draws.gather(-2, component).squeeze(-2)
        if not torch.is_grad_enabled():
            return z
        components, logits = self.component_distribution.base_dist, self.mixture_distribution.logits
        loc, scale = components.loc.detach(), components.scale.detach()
        tail, jacobian = tails(z.detach()[..., None, :], logits[..., None], loc, scale)
        change = torch.linalg.solve_triangular(jacobian, (tail - tail.detach())[..., None], upper=False)
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
