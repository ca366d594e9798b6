"""Draws nearer to what is typical: latents with less noise than their prior has, or without its tails."""

from __future__ import annotations

import functools
import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger

from ..distributions.flow import Flow
from ..distributions.mixture import DiagonalGaussianMixture
from ..distributions.truncated_normal import TruncatedNormal
from ..pairs.modules import Callee
from ..pairs.sites import is_latent


def tempered(model: Callee, *, temperature: float = 1.0, truncation: float | None = None) -> Callee:
    """A model whose latents are drawn with other noise; what is observed is drawn as ever.

    The scale of a normal distribution is multiplied by the temperature; with a truncation t, what is drawn stays within
    t of these scales of its mean. Of a mixture that holds for each component, of a flow for the noise that it
    transforms, and at each level of a hierarchy. Discrete latents stay as they are. The draws are no longer those of
    p(x).

    Args:
        model: p(x, z).
        temperature: above 0; 1 leaves the scales as they are.
        truncation: above 0, or None for none.

    Raises:
        ValueError: a temperature or a truncation that is not above 0; when it is called, latents of another kind.

    Reference:
        Kingma, Dhariwal 2018, "Glow"; Brock, Donahue, Simonyan 2019, "Large scale GAN training" (truncation).
    """
    for name, value in (("temperature", temperature), ("truncation", truncation)):
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"Expected {name} > 0; got {value}.")
    if temperature == 1 and truncation is None:
        return model

    @functools.wraps(model)
    def with_other_noise(*args: Any, **kwargs: Any) -> Any:
        with _Tempered(temperature, truncation) as handler:
            result = model(*args, **kwargs)
        if not handler.changed:
            raise ValueError("Expected continuous latents, whose noise can be less; got none.")
        return result

    return with_other_noise


class _Tempered(Messenger):
    def __init__(self, temperature: float, truncation: float | None) -> None:
        super().__init__()
        self.temperature, self.truncation, self.changed = temperature, truncation, False

    def _pyro_sample(self, msg: Any) -> None:
        fn = msg["fn"]
        if is_latent(msg) and not fn.support.is_discrete:
            self.changed = True
            msg["fn"] = self._with_other_noise(msg["name"], fn)

    def _with_other_noise(self, name: str, fn: Any) -> Any:
        """The distribution with scales that are multiplied, and truncated."""
        inner = functools.partial(self._with_other_noise, name)
        if isinstance(fn, torch.distributions.Independent):
            return dist.Independent(inner(fn.base_dist), fn.reinterpreted_batch_ndims)
        if isinstance(fn, torch.distributions.TransformedDistribution):
            return dist.TransformedDistribution(inner(fn.base_dist), fn.transforms)
        if isinstance(fn, Flow):
            return Flow(inner(fn.base), fn.steps)
        if isinstance(fn, torch.distributions.MixtureSameFamily):
            return dist.MixtureSameFamily(fn.mixture_distribution, inner(fn.component_distribution))
        if isinstance(fn, DiagonalGaussianMixture):
            components = inner(dist.Normal(fn.loc, fn.scale).to_event(1))
            mixed = dist.MixtureSameFamily(dist.Categorical(logits=fn.logits), components)
            return mixed.expand(fn.batch_shape)
        if type(fn) in (dist.Normal, torch.distributions.Normal):
            scale = self.temperature * fn.scale
            if self.truncation is None:
                return dist.Normal(fn.loc, scale)
            return TruncatedNormal(fn.loc, scale, self.truncation)
        if self.truncation is None and isinstance(fn, torch.distributions.MultivariateNormal):
            return dist.MultivariateNormal(fn.loc, scale_tril=self.temperature * fn.scale_tril)
        if self.truncation is None and isinstance(fn, torch.distributions.LowRankMultivariateNormal):
            factor, diagonal = self.temperature * fn.cov_factor, self.temperature**2 * fn.cov_diag
            return dist.LowRankMultivariateNormal(fn.loc, factor, diagonal)
        raise ValueError(
            f"Expected latents at site {name!r} that are normal, mixtures of such or transformed ones, whose noise can "
            f"be less; got {type(fn).__name__}{'' if self.truncation is None else ', to be truncated'}. Leave "
            f"temperature and truncation out."
        )
