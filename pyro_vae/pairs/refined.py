"""A guide refined for each data point by gradient steps on the ELBO."""

from __future__ import annotations

import functools
from typing import Any

import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.poutine.messenger import Messenger
from torch import Tensor

from .modules import Callee
from .sites import is_latent, latents_of

Moves = dict[str, Tensor]
GAUSSIANS = (
    torch.distributions.Normal,
    torch.distributions.MultivariateNormal,
    torch.distributions.LowRankMultivariateNormal,
)


def refined(model: Callee, guide: Callee, *, num_steps: int = 10, learning_rate: float = 0.3) -> Callee:
    """The guide, its Gaussians moved for each data point by steps up the ELBO, where the encoder leaves some to gain.

    q'(z|x) = Normal(m + t * sd, diag(e^s) C diag(e^s)) where the guide has Normal(m, C) with standard deviations sd;
    t and s start at 0 and follow the gradient of E_q'[log p(x, z) - log q'(z|x)], one draw a step

    Each call of the result refines the data it is called with. It is a guide like any other, with the parameters of
    the one it wraps: for `log_marginal` and `annealed_log_marginal` around a trained guide, or for `fit`, to train
    through the refinement; gradients of the parameters then take t and s for constants (first order). The noise is the
    same for all data points and calls, so that each is refined to the same q' wherever it stands. Estimates stay valid:
    what is scored comes from other draws.

    A step costs a forward and a backward pass for each data point. `log_marginal` refines once for each chunk: for 256
    samples of a data point where there are many, for more where they are few. The steps are those of the model itself,
    at KL weight 1, also under a warm-up.

    Args:
        model: p(x, z), called with data (B, ...).
        guide: q(z|x), called with the same data; each of its sites a Gaussian, diagonal or not.
        num_steps: steps for each data point.
        learning_rate: step size, which falls to 0; in units of sd, where 1 is a Newton step close to the optimum.

    Raises:
        ValueError: num_steps or learning_rate is not above 0; on call, a site of the guide is no Gaussian.

    Reference:
        Kim, Wiseman, Miller, Sontag, Rush 2018, "Semi-amortized variational autoencoders"; Cremer, Li, Duvenaud 2018,
        "Inference suboptimality in variational autoencoders"; gradients: Roeder, Wu, Duvenaud 2017, "Sticking the
        landing".

    Example:
        >>> import pyro
        >>> def model(x):
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)
        >>> def guide(x):  # far from the posterior, Normal(0.5, 0.7)
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("z", dist.Normal(torch.full_like(x, -1.0), 1.0))
        >>> qz = poutine.trace(refined(model, guide, num_steps=20)).get_trace(torch.ones(1)).nodes["z"]["fn"]
        >>> print(f"{qz.mean.item():.1f} {qz.stddev.item():.1f}")
        0.5 0.7
    """
    if num_steps < 1 or not learning_rate > 0:
        raise ValueError(f"Expected num_steps >= 1 and learning_rate > 0; got {num_steps} and {learning_rate}.")

    @functools.wraps(guide)
    def refined_guide(*args: Any, **kwargs: Any) -> Any:
        with poutine.block(), torch.enable_grad():  # no handler around this guide sees the steps
            p, q = (functools.partial(function, *args, **kwargs) for function in (model, guide))
            moves = _climb(p, q, num_steps, learning_rate)
        with _Moving(moves):
            return guide(*args, **kwargs)

    return refined_guide


def _check_drawn(*traces: poutine.Trace) -> None:
    latents = {name: site for trace in traces for name, site in latents_of(trace).items()}
    if marked := sorted(name for name, site in latents.items() if site["infer"].get("enumerate")):
        raise ValueError(
            f"Expected a pair whose latents are all drawn, to refine them by their ELBO; {marked} are marked for "
            f"enumeration. Give log_marginal the guide as it is: with estimator 'auto' it fits proposals of its own."
        )


def _climb(model: Callee, guide: Callee, num_steps: int, learning_rate: float) -> Moves:
    """The moves after num_steps up the gradient, for a pair that takes no inputs."""
    moves: Moves = {}
    for step in range(num_steps):
        handler = _Moving(moves, step)
        with handler:
            guide_trace = poutine.trace(guide).get_trace()
        model_trace = poutine.trace(poutine.replay(model, trace=guide_trace)).get_trace()
        _check_drawn(model_trace, guide_trace)
        elbo = model_trace.log_prob_sum() - guide_trace.log_prob_sum()
        gradients = torch.autograd.grad(elbo, list(handler.moves.values()))
        rate = learning_rate * (1 - step / num_steps)
        moves = {
            name: move.detach() + rate * gradient.nan_to_num(0.0).clamp(-1, 1)
            for (name, move), gradient in zip(handler.moves.items(), gradients, strict=True)
        }
    return moves


class _Moving(Messenger):
    """Moves the Gaussians of a guide; given a step, their draws are those of that step's noise.

    Attributes:
        moves: by site (2, *batch, *event), t and s; a site that is met for the first time starts at 0.
    """

    def __init__(self, moves: Moves, step: int | None = None) -> None:
        super().__init__()
        self.moves, self.step = dict(moves), step

    def _pyro_sample(self, msg: Any) -> None:
        if not is_latent(msg):
            return
        name, site = msg["name"], msg["fn"]
        fn = _gaussian(name, site)
        moves = self.moves.get(name)
        moves = fn.loc.new_zeros(2, *site.shape()) if moves is None else moves
        msg["fn"] = _moved(fn, *moves).to_event(site.event_dim - fn.event_dim)
        if self.step is not None:
            self.moves[name] = moves = moves.requires_grad_()
            # Of opposite sign at every other step, so that the noise itself pushes nowhere.
            noise = (1 - 2 * (self.step % 2)) * _noise(self.step // 2, list(self.moves).index(name), site.event_shape)
            # The gradient goes through the draw alone, not through the density that scores it: its mean is the same,
            # and at the posterior it has no noise.
            msg["value"], msg["done"] = _point(_moved(fn, *moves), noise.to(fn.loc)), True


def _gaussian(name: str, fn: Any) -> Any:
    """The Gaussian of a site, without the wrapper that makes an event of its dimensions."""
    while isinstance(fn, torch.distributions.Independent):
        fn = fn.base_dist
    if not isinstance(fn, GAUSSIANS):
        raise ValueError(
            f"Expected Gaussian sites in the guide to refine; site {name!r} has {type(fn).__name__}. Use "
            f"GaussianEncoder, FullRankEncoder or LowRankEncoder."
        )
    return fn


def _moved(fn: Any, t: Tensor, s: Tensor) -> Any:
    """A Gaussian with t standard deviations added to its mean and its dimensions stretched by e^s."""
    loc, stretch = fn.loc + fn.stddev * t, s.exp()
    if isinstance(fn, torch.distributions.Normal):
        return dist.Normal(loc, fn.scale * stretch)
    if isinstance(fn, torch.distributions.MultivariateNormal):
        return dist.MultivariateNormal(loc, scale_tril=stretch[..., None] * fn.scale_tril)
    return dist.LowRankMultivariateNormal(loc, stretch[..., None] * fn.cov_factor, stretch.square() * fn.cov_diag)


def _point(fn: Any, noise: Tensor) -> Tensor:
    """The draw of a Gaussian that belongs to standard normal noise."""
    if isinstance(fn, torch.distributions.Normal):
        return fn.loc + fn.scale * noise
    return fn.loc + (fn.scale_tril @ noise[..., None]).squeeze(-1)


@functools.cache
def _noise(pair_of_steps: int, site: int, shape: torch.Size) -> Tensor:
    """Standard normal noise of given shape, always the same."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(1000 * site + pair_of_steps))
