"""What a guide loses against log p(x): by its family, and by being shared between data points."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyro.distributions as dist
import torch
from pyro.distributions.transforms import AffineTransform
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import constraints

from ..arguments.at_least import at_least
from ..evidence import LogMarginal, Measured
from ..evidence.counter_random import data_digests
from ..evidence.drawing import check_by_itself, handful
from ..evidence.measured import measured
from ..pairs.amortized import check_no_autoguide
from ..pairs.batch import Points, taking
from ..pairs.checks import check_data, check_latents
from ..pairs.contexts import evaluating, seeded
from ..pairs.enumerated import SummedOut, summed_out
from ..pairs.inputs import Inputs, as_points
from ..pairs.modules import Callee
from ..pairs.particles import repeat_data
from ..pairs.scoring import score, traces
from ..pairs.sites import is_latent
from ..pairs.supports import of_one_value, support_of


@dataclass(frozen=True)
class InferenceGaps:
    """Result of `inference_gaps`, in nats, for each data point. Tensors are (N,), float64, on the CPU.

    Errors are Monte Carlo standard errors. `inference` = `approximation` + `amortization`.

    Attributes:
        elbo, elbo_error: of the guide as it is.
        amortization, amortization_error: what the correction of each data point gains; 0 where it was not kept.
        best_elbo_error: of elbo + amortization.
        log_prob, log_prob_error: log p(x), as given; errors nan if none were given.
        num_samples: draws for each data point behind the ELBOs.
        shared_error: standard error of log p(x) that all data points share; part of the errors of means alone.
    """

    elbo: Tensor
    elbo_error: Tensor
    amortization: Tensor
    amortization_error: Tensor
    best_elbo_error: Tensor
    log_prob: Tensor
    log_prob_error: Tensor
    num_samples: int
    shared_error: float = 0.0

    @property
    def best_elbo(self) -> Tensor:
        """ELBO of the guide corrected for each data point."""
        return self.elbo + self.amortization

    @property
    def approximation(self) -> Tensor:
        """log p(x) - best_elbo: what the guide's family loses."""
        return self.log_prob - self.best_elbo

    @property
    def approximation_error(self) -> Tensor:
        """Standard error of `approximation`."""
        return (self.log_prob_error.square() + self.best_elbo_error.square()).sqrt()

    @property
    def inference(self) -> Tensor:
        """log p(x) - ELBO, KL of the guide to the posterior."""
        return self.log_prob - self.elbo

    @property
    def inference_error(self) -> Tensor:
        """Standard error of `inference`."""
        return (self.log_prob_error.square() + self.elbo_error.square()).sqrt()

    def mean(self, name: str) -> Measured:
        """The mean over data points of "inference", "approximation", "amortization" or "elbo"."""
        shared = self.shared_error if name in ("inference", "approximation") else 0.0
        return measured(getattr(self, name), getattr(self, f"{name}_error"), shared_error=shared)

    def to_json(self) -> dict[str, Any]:
        """Means over data points with their errors, numbers alone."""
        means = {name: vars(self.mean(name)) for name in ("elbo", "inference", "approximation", "amortization")}
        return means | {"num_data_points": len(self.elbo), "num_samples": self.num_samples}

    def __repr__(self) -> str:
        rows = [f"{f'{name} gap':<18}{self.mean(name)}" for name in ("inference", "approximation", "amortization")]
        rows += [f"{'from':<18}{len(self.elbo):,} data points, {self.num_samples:,} samples each; nats"]
        return "\n".join(rows)


def inference_gaps(
    model: Callee,
    guide: Callee,
    x: Inputs,
    log_prob: LogMarginal | Tensor,
    *,
    num_steps: int = 300,
    num_particles: int = 16,
    num_samples: int = 256,
    learning_rate: float = 0.03,
    chunk_size: int = 4096,
    seed: int | None = 0,
) -> InferenceGaps:
    """Split log p(x) - ELBO of each data point into what the guide's family loses and what sharing it loses.

    log p(x) - ELBO = (log p(x) - ELBO*) + (ELBO* - ELBO) = approximation gap + amortization gap

    ELBO* is the best found for the data point alone: each site's noise is shifted and scaled dimension by dimension, by
    amounts that start at nothing and follow Adam on the ELBO of that data point. For a diagonal Gaussian guide those
    are all diagonal Gaussians, the gaps of Cremer and others; for a transformed Gaussian (a flow) it is the base that
    moves. For other families, and with too few steps, ELBO* is lower than the best of the family: the amortization gap
    is a lower bound, the approximation gap an upper one. A correction is kept where it is better on fresh draws, and
    measured on others, so that choosing does not flatter it.

    Args:
        model: p(x, z), called with data (B, ...).
        guide: q(z|x), called with the same data; its sites are reparameterized.
        x: data (N, ...), tensors on the device of the pair, or arrays: see `pyro_vae.pairs.inputs.as_points`.
        log_prob: log p(x) of the same data, a result of `log_marginal` or of another estimator, or (N,). Where it is
            too low, the inference and approximation gaps are, by as much.
        num_steps: steps of Adam; the learning rate falls to zero along a half cosine.
        num_particles: draws for each data point and step.
        num_samples: fresh draws for each data point, at least 2, first to choose and again to measure.
        learning_rate: where it starts, in standard deviations of the guide.
        chunk_size: largest number of (data point, draw) pairs in memory at once.
        seed: of the draws, on a random stream of their own; None draws from the global stream.

    Raises:
        ValueError: numbers below 1 (num_samples below 2), log_prob of other data, a pair that scores a data point by
            those beside it, or a site without reparameterized samples of real numbers.

    Reference:
        Cremer, Li, Duvenaud 2018, "Inference suboptimality in variational autoencoders".

    Example:
        >>> import pyro
        >>> def model(x):  # z ~ N(0, 1), x ~ N(z, 1)
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)
        >>> def guide(x):  # the posterior is N(x / 2, 1 / 2): a Gaussian, so nothing is lost by the family
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("z", dist.Normal(x, 1.0))
        >>> x = torch.tensor([0.0, 1.0])
        >>> gaps = inference_gaps(model, guide, x, dist.Normal(0.0, 2**0.5).log_prob(x), num_steps=100)
        >>> bool((gaps.approximation < 0.01).all()), bool((gaps.amortization > 0.1).all())
        (True, True)
    """
    points = as_points("x", x, model, guide)
    model, guide = taking(points, model, guide)
    at_least(1, num_steps=num_steps, num_particles=num_particles, chunk_size=chunk_size)
    at_least(2, num_samples=num_samples)
    estimate = None if isinstance(log_prob, Tensor) else log_prob
    known = log_prob if isinstance(log_prob, Tensor) else log_prob.log_prob
    if known.shape != (len(points),):
        raise ValueError(
            f"Expected log_prob of the same {len(points):,} data points, ({len(points)},); got {tuple(known.shape)}."
        )
    digests = None if estimate is None else estimate.digests
    if digests is not None and not torch.equal(digests, data_digests(points)):
        raise ValueError(
            "Expected log_prob of the same data points in the same order; got that of others. Estimate it for this x."
        )
    batches = []
    with seeded(seed), evaluating(model, guide):
        check_no_autoguide(model, guide)
        per_batch = max(1, chunk_size // num_particles)
        model, guide = summed_out(model, guide, points[handful(points)])
        if isinstance(guide, SummedOut):
            raise ValueError(
                f"Expected a guide that draws all its latents, so that they can be moved; got the enumerated sites "
                f"{sorted(guide.names)}. Leave the gaps to log_marginal and diagnose: log p(x) - ELBO."
            )
        check_latents(*traces(model, guide, points[handful(points)]))
        check_data(model, guide, [points])
        check_by_itself(model, guide, points, per_batch)
        for batch in points.split(per_batch):
            better = _corrections(model, guide, batch, num_steps, num_particles, learning_rate)
            seeds = torch.randint(2**31, (2,)).tolist()
            trial, final = (_elbos(model, guide, batch, better, num_samples, chunk_size, seed) for seed in seeds)
            kept = (trial[1] - trial[0]).mean(0) > 0
            batches.append((final[0], torch.where(kept, final[1], final[0])))
    before, after = (torch.cat(parts, 1).cpu() for parts in zip(*batches, strict=True))  # (K, N)
    error = [(e.var(0) / num_samples).sqrt() for e in (before, after - before, after)]
    errors = torch.full((len(points),), torch.nan) if estimate is None else estimate.standard_error
    return InferenceGaps(
        elbo=before.mean(0),
        elbo_error=error[0],
        amortization=(after - before).mean(0),
        amortization_error=error[1],
        best_elbo_error=error[2],
        log_prob=known.detach().double().cpu(),
        log_prob_error=errors.double().cpu(),
        num_samples=num_samples,
        shared_error=0.0 if estimate is None else estimate.shared_error,
    )


class _Corrections(Messenger):
    """Shifts and scales the noise of a guide's sites, by amounts of their own for each data point.

    The data may be repeated, ``copies`` times one after the other: every pair can score more data points.
    """

    def __init__(self) -> None:
        super().__init__()
        self.amounts = dict[str, tuple[Tensor, Tensor, int]]()  # shift, log scale, dim of the data points, by site
        self.copies = 1

    def _pyro_sample(self, msg: Any) -> None:
        if is_latent(msg):
            msg["fn"] = self._moved(msg["name"], msg["fn"], -1 - msg["fn"].event_dim)

    def _moved(self, name: str, fn: Any, dim: int) -> Any:
        if isinstance(fn, torch.distributions.Independent):
            return self._moved(name, fn.base_dist, dim).to_event(fn.reinterpreted_batch_ndims)
        if isinstance(fn, torch.distributions.TransformedDistribution):
            return dist.TransformedDistribution(self._moved(name, fn.base_dist, dim), fn.transforms)
        if name not in self.amounts and not _is_movable(fn):
            raise ValueError(
                f"Expected a guide of reparameterized real draws, or transforms of them, such as Normal or LogNormal; "
                f"got {type(fn).__name__} at site {name!r}. Use another guide, or log_prob - ELBO alone."
            )
        if name not in self.amounts:
            zeros = fn.mean.new_zeros(fn.batch_shape + fn.event_shape)
            self.amounts[name] = (zeros, zeros.clone(), dim)
        shift, log_scale = (torch.cat([a] * self.copies, dim) for a in self.amounts[name][:2])
        scale = log_scale.exp()  # z -> mean + shift * stddev + scale * (z - mean)
        loc = fn.mean * (1 - scale) + shift * fn.stddev
        return dist.TransformedDistribution(fn, AffineTransform(loc, scale, event_dim=fn.event_dim))


def _is_movable(fn: Any) -> bool:
    """Whether draws are real numbers with gradients, around a mean and with a standard deviation that are known."""
    if not fn.has_rsample or of_one_value(support_of(fn)) is not constraints.real or isinstance(fn, dist.Delta):
        return False
    try:
        return bool(fn.mean.isfinite().all() and fn.stddev.isfinite().all())
    except (NotImplementedError, AttributeError):
        return False


def _corrections(model: Callee, guide: Callee, x: Points, steps: int, particles: int, rate: float) -> _Corrections:
    """The best found for these data points, each on its own: Adam treats every number by itself."""
    corrections = _Corrections()
    traces(model, corrections(guide), x)  # learns the shapes
    amounts = [a.requires_grad_() for shift, log_scale, _ in corrections.amounts.values() for a in (shift, log_scale)]
    optimizer = torch.optim.Adam(amounts, lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    corrections.copies = particles
    rows = repeat_data(x, particles)
    for _ in range(steps):
        with torch.enable_grad():
            loss = -score(model, corrections(guide), rows).log_weight.sum() / particles
            gradients = torch.autograd.grad(loss, amounts)  # leaves the gradients of the pair alone
        for amount, gradient in zip(amounts, gradients, strict=True):
            amount.grad = gradient.nan_to_num(0.0, 0.0, 0.0)
        optimizer.step()
        schedule.step()
    return corrections


def _elbos(
    model: Callee, guide: Callee, x: Points, corrections: _Corrections, num_samples: int, chunk_size: int, seed: int
) -> Tensor:
    """Draws of the ELBO of the guide as it is and corrected, (2, K, B), both from the same noise."""
    copies, draws = max(1, chunk_size // len(x)), []
    for function in (guide, corrections(guide)):
        with seeded(seed):
            for start in range(0, num_samples, copies):
                corrections.copies = min(copies, num_samples - start)
                rows = repeat_data(x, corrections.copies)
                draws.append(score(model, function, rows).log_weight.double().view(-1, len(x)))
    return torch.cat(draws).view(2, num_samples, len(x))
