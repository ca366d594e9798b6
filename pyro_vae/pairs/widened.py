"""A guide that reaches farther than another."""

from __future__ import annotations

import functools
import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from torch.distributions import AffineTransform, biject_to

from .modules import Callee, under
from .sites import is_latent
from .supports import of_one_value, support_of


def widened(guide: Callee, scale: float) -> Callee:
    """The guide with the scale of each reparameterized latent multiplied, around its mean.

    A guide trained by the ELBO is narrower than the posterior, which makes importance weights heavy-tailed. A widened
    one has lighter tails of the weights at the price of a lower effective sample size where it was right. Constrained
    latents are widened in unconstrained space. Latents that are not reparameterized stay as they are.

    Args:
        guide: q(z|x), called with data (B, ...).
        scale: factor of each scale; 1 changes nothing.

    Returns:
        A guide, for `log_marginal(model, widened(guide, 1.1), x)` and all else that takes one.

    Raises:
        ValueError: scale is not positive; when called, a reparameterized latent whose distribution knows no mean.

    Example:
        >>> import pyro
        >>> from pyro import poutine
        >>> guide = lambda x: pyro.sample("z", dist.Normal(x, 0.5))
        >>> poutine.trace(widened(guide, 2.0)).get_trace(torch.zeros(3)).nodes["z"]["fn"].log_prob(torch.zeros(3))
        tensor([-0.9189, -0.9189, -0.9189])
    """
    if not (scale > 0 and math.isfinite(scale)):
        raise ValueError(f"Expected scale > 0; got {scale}.")

    wide = under(functools.partial(_Widening, scale), guide)
    wide.is_widened = scale > 1  # type: ignore[attr-defined]
    return wide


class _Widening(Messenger):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def _pyro_sample(self, msg: Any) -> None:
        fn = msg["fn"]
        if not is_latent(msg) or not fn.has_rsample or isinstance(fn, dist.Delta):
            return
        try:
            mean = fn.mean
        except NotImplementedError:
            mean = torch.tensor(math.nan)
        if not mean.isfinite().all():  # that of a Cauchy distribution is nan
            raise ValueError(
                f"Expected a guide whose latents know their mean, to be widened around; site {msg['name']!r} has "
                f"{type(fn).__name__}. Use a defensive mixture with the prior instead."
            )
        free = biject_to(support_of(fn))
        centre = free.inv(mean)
        spread = AffineTransform(centre * (1 - self.scale), self.scale, event_dim=free.domain.event_dim)
        is_real = of_one_value(support_of(fn)) is dist.constraints.real
        msg["fn"] = dist.TransformedDistribution(fn, [spread] if is_real else [free.inv, spread, free])
