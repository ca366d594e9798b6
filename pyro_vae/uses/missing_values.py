"""log p(x_missing | x_known): how likely the truth is, given what a restoration sees."""

from __future__ import annotations

import math

import torch

from ..evidence import LogMarginal, log_marginal
from ..evidence.conditional import APART, difference
from ..pairs.inputs import Inputs, as_points
from ..pairs.modules import Callee
from .observations import Inpainting
from .restoration import observing


def missing_log_prob(
    model: Callee,
    guide: Callee,
    x: Inputs,
    missing: Inputs,
    *,
    num_samples: int = 1000,
    seed: int = 0,
    progress: bool = True,
) -> LogMarginal:
    """log p(x_missing | x_known) of whole data, in nats: how likely the truth is, given what a restoration sees.

    log p(x) - log p(x_known), both by `log_marginal`, with one error; a bound on neither side.

    Args:
        model, guide: the pair.
        x: whole data (N, ...), a tensor on the device of the pair, or an array: see
            `pyro_vae.pairs.inputs.as_points`.
        missing: which values a restoration has to fill in, bool, of the shape of x or of one data point.
        num_samples: of each estimate.
        seed: of the draws.
        progress: as of `log_marginal`.

    Raises:
        ValueError: nothing is missing or known of a data point, or what `log_marginal` refuses.

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([len(x)]))
        ...         pyro.sample("x", dist.Normal(z[:, None].expand(-1, 2), 1.0).to_event(1), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("z", dist.Normal(x.sum(-1) / 3, 0.8))
        >>> found = missing_log_prob(model, guide, torch.tensor([[1.0, 0.5]]), torch.tensor([False, True]))
        >>> abs(found.log_prob.item() - dist.Normal(0.5, 1.5**0.5).log_prob(torch.tensor(0.5)).item()) < 0.05
        True
    """
    x, missing = as_points("x", x, model, guide), as_points("missing", missing)
    if not (isinstance(x, torch.Tensor) and isinstance(missing, torch.Tensor)):
        raise TypeError("Expected one tensor or array for x and one for missing; got several. Give those of x alone.")
    if missing.dim() > x.dim() or any(
        n not in (1, m) for n, m in zip(missing.shape[::-1], x.shape[::-1], strict=False)
    ):
        raise ValueError(
            f"Expected missing of the shape of x, {tuple(x.shape)}, or of one data point; got {tuple(missing.shape)}."
        )
    missing = missing.to(x.device).bool().expand(x.shape)
    share = missing.flatten(1).double().mean(1)
    if not ((share > 0) & (share < 1)).all():
        raise ValueError("Expected some values of each data point to be missing and some known; got all or none.")
    known = Inpainting()
    y = torch.where(missing, math.nan, x)
    whole = log_marginal(model, guide, x, num_samples=num_samples, seed=seed, progress=progress and "log p(x)")
    pair, apart = observing(model, guide, known), (seed + APART) % 2**63
    bar = progress and "log p(x_known)"
    part = log_marginal(*pair, (known.guess(y), y), num_samples=num_samples, seed=apart, progress=bar)
    return difference(whole, part)
