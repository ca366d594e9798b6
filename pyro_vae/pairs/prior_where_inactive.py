"""A guide without its inactive dimensions."""

from __future__ import annotations

import functools
from typing import Any

import pyro.distributions as dist
from pyro import poutine
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import NonlocalExit
from torch import Tensor

from .batch import Batch
from .modules import Callee
from .sites import is_latent
from .supports import factors


def prior_where_inactive(model: Callee, guide: Callee, active: Tensor) -> Callee:
    """The guide, with its inactive dimensions drawn from the prior instead, so that they add no noise to weights.

    E[p(x, z) / q(z|x)] stays p(x): the support stays, and the density is that of what is drawn. Give the result to
    `log_marginal` as the guide.

    Args:
        model: p(x, z) with a single latent site, whose prior factorizes over dimensions.
        guide: q(z|x), which factorizes too.
        active: (D,) bool, such as ``diagnose(...).active_by_variance``.

    Raises:
        ValueError: when called, if guide or prior do not factorize, or there are several latent sites.

    Example:
        >>> import torch
        >>> from pyro_vae import MLP, VAE, Bernoulli, GaussianEncoder, StandardNormal, diagnose, log_marginal
        >>> px = Bernoulli((1, 8, 8))
        >>> vae = VAE(StandardNormal(5), GaussianEncoder((1, 8, 8), 5), MLP(5, px.feature_shape), px)
        >>> x = torch.rand(20, 1, 8, 8).round()
        >>> guide = prior_where_inactive(vae.model, vae.guide, diagnose(vae.model, vae.guide, x).active_by_variance)
        >>> len(log_marginal(vae.model, guide, x, num_samples=10))
        20
    """

    @functools.wraps(guide)
    def mixed(*args: Any, **kwargs: Any) -> Any:
        here = active.to(Batch(args, kwargs).device)
        with _PriorWhereInactive(_prior(functools.partial(model, *args, **kwargs)), here):
            return guide(*args, **kwargs)

    return mixed


class _PriorWhereInactive(Messenger):
    def __init__(self, prior: tuple[str, Any], active: Tensor) -> None:
        super().__init__()
        (self.first, self.prior), self.active, self.seen = prior, active, False

    def _pyro_sample(self, msg: Any) -> None:
        if not is_latent(msg):
            return
        if self.seen or self.first != msg["name"]:
            raise ValueError(f"Expected a single latent site; got {self.first!r} and {msg['name']!r}. Keep the guide.")
        self.seen = True
        q, p = factors(msg["fn"]), factors(self.prior)
        if q is None or p is None:
            which = "guide" if q is None else "prior"
            raise ValueError(
                f"Expected a guide and a prior that factorize over dimensions at site {msg['name']!r}; the {which} "
                f"does not. Keep the guide as it is."
            )
        if self.active.shape != msg["fn"].event_shape:
            raise ValueError(
                f"Expected active of shape {tuple(msg['fn'].event_shape)}; got {tuple(self.active.shape)}."
            )
        mask = self.active.expand(q.batch_shape)
        msg["fn"] = dist.MaskedMixture(mask, p.expand(q.batch_shape), q).to_event(msg["fn"].event_dim)


def _prior(model: Callee) -> tuple[str, Any]:
    """Name and p(z) of the model's first latent site; the model is left there, before its decoder."""
    try:
        with poutine.block():
            poutine.escape(model, escape_fn=is_latent)()
    except NonlocalExit as found:
        found.reset_stack()
        return found.site["name"], found.site["fn"]
    raise ValueError("Expected a model with a latent site; it has none.")
