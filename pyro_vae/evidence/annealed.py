"""log p(x) by annealed importance sampling with Hamiltonian transitions, for any pair with continuous latents."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import pyro
import pyro.distributions as dist
import torch
from pyro import poutine
from pyro.distributions.util import sum_rightmost
from pyro.poutine.messenger import Messenger
from torch import Tensor
from torch.distributions import Transform, biject_to
from torch.distributions.constraints import MixtureSameFamilyConstraint
from tqdm import tqdm

from ..pairs import Callee, evaluating, sample_sites, score_traces, seeded, traces
from .importance import WeightSum
from .result import LogMarginal

Start = Literal["guide", "prior"]

STEEPNESS = 4.0  # of the sigmoid schedule (Grosse, Ghahramani, Adams 2015)
FIRST_STEP = 0.1  # where the warm-up starts
FIRST_TRANSITIONS = 50  # of the warm-up, before the temperature moves
LEAST_TRANSITIONS = 100  # of the warm-up along the path: with few temperatures, several at each
ADAPTATION_RATE = 1.0  # of log step size, for each transition: slower, it lags behind a posterior that grows narrow
JITTER = 0.2  # of step sizes, relative, so that no trajectory closes on itself


@dataclass(frozen=True)
class AnnealedLogMarginal:
    """An estimate of log p(x) by annealed importance sampling, and how its chains moved.

    Attributes:
        estimate: log_prob, standard_error and ess over the chains of each image (N,), in nats, a stochastic lower
            bound. They are also attributes of this result.
        acceptance: mean acceptance probability of each image's transitions (N,); nan without transitions.
        step_size: leapfrog step of each temperature between the two ends, for each image (num_temperatures - 1, N).
    """

    estimate: LogMarginal
    acceptance: Tensor
    step_size: Tensor

    @property
    def log_prob(self) -> Tensor:
        """Estimate of log p(x), in nats (N,), float64."""
        return self.estimate.log_prob

    @property
    def standard_error(self) -> Tensor:
        """Monte Carlo standard error of log_prob (N,), from the spread of the chains."""
        return self.estimate.standard_error

    @property
    def ess(self) -> Tensor:
        """Effective sample size of the chains' weights (N,), from 1 to num_samples."""
        return self.estimate.ess

    @property
    def num_samples(self) -> int:
        """Chains for each image."""
        return self.estimate.num_samples

    @property
    def num_temperatures(self) -> int:
        """Steps of the path."""
        return len(self.step_size) + 1

    @property
    def mean(self) -> float:
        """Mean of log p(x) over the images, in nats per image; its errors are those of ``estimate``."""
        return self.estimate.mean

    def __len__(self) -> int:
        return len(self.estimate)

    def __repr__(self) -> str:
        return (
            f"AnnealedLogMarginal({self.estimate!r}, {self.num_temperatures:,} temperatures, acceptance from "
            f"{self.acceptance.min().item():.2f} to {self.acceptance.max().item():.2f})"
        )


def annealed_log_marginal(
    model: Callee,
    guide: Callee,
    x: Tensor,
    *,
    num_chains: int = 16,
    num_temperatures: int = 1000,
    start: Start = "guide",
    num_leapfrog: int = 5,
    num_warmup_chains: int = 4,
    target_acceptance: float = 0.9,
    chunk_size: int = 4096,
    seed: int | None = 0,
    progress: bool = False,
) -> AnnealedLogMarginal:
    """Estimate log p(x) of each image by annealed importance sampling from the guide or the prior to the posterior.

    log p(x) ~ log mean_k w_k,  log w = sum_t (b_t - b_{t-1}) (log p(x, z_{t-1}) - log q0(z_{t-1})),  z_0 ~ q0,
    z_t ~ a Hamiltonian transition that leaves q0(z)^(1 - b_t) p(x, z)^b_t invariant,  0 = b_0 < ... < b_T = 1

    A stochastic lower bound for any T; with T = 1 it is importance sampling from q0. Latents are moved to
    unconstrained space; several latent sites that depend on each other are fine. Step sizes follow the acceptance rate
    in a warm-up run on chains of its own, for each image and temperature, and are then frozen, so that the estimate
    stays valid. A model takes num_leapfrog gradients for each chain and temperature. Runs in evaluation mode; KL
    weights and other scales of the pair do not enter.

    The standard error comes from num_chains weights and sees only what the chains saw: compare the two starts, more
    temperatures, and `bidirectional` at the same settings.

    Args:
        model: p(x, z), called with images (B, ...).
        guide: q(z|x), called with the same images; with start="prior" not used.
        x: images (N, ...), on the device of the pair.
        num_chains: K, independent chains for each image.
        num_temperatures: T, steps from q0 to the posterior, on a sigmoid schedule.
        start: q0, "guide" for q(z|x) or "prior" for p(z).
        num_leapfrog: leapfrog steps of a transition.
        num_warmup_chains: chains for each image in the warm-up, which is run along the same path.
        target_acceptance: mean acceptance probability that the step sizes are adapted to.
        chunk_size: largest number of (image, chain) pairs in memory at once; one image's chains stay together.
        seed: of the draws, on a random stream of their own; None draws from the global stream.
        progress: show a progress bar on the terminal.

    Returns:
        AnnealedLogMarginal: log_prob, standard_error, ess and acceptance of each image, (N,).

    Raises:
        ValueError: a count below 1, no images, a discrete latent, a guide whose support is not the prior's, a site
            outside the plate over images, or model and guide that do not fit together.

    Reference:
        Neal 2001, "Annealed importance sampling"; Wu, Burda, Salakhutdinov, Grosse 2017, "On the quantitative analysis
        of decoder-based generative models".

    Example:
        >>> def model(x):  # z ~ N(0, 1), x ~ N(z, 1), so that log p(x) = log N(x; 0, 2) = -1.5155 at x = 1
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)
        >>> result = annealed_log_marginal(
        ...     model, model, torch.ones(1), start="prior", num_chains=100, num_temperatures=20, num_leapfrog=3
        ... )
        >>> bool((result.log_prob + 1.5155).abs() < 5 * result.standard_error)
        True
    """
    annealing = Annealing(num_chains, num_temperatures, start, num_leapfrog, num_warmup_chains, target_acceptance)
    results = []
    with seeded(seed), evaluating(model, guide), annealing.bar(2 * len(x), progress=progress) as bar:
        for batch in annealing.split(x, chunk_size):
            steps = annealing.warm_up(model, guide, batch, bar.update)
            path = Path(model, guide, batch, num_chains, start)
            results.append((*annealing.run(path, path.start, steps, bar.update), steps))
    return annealing.gather(results)


@dataclass(frozen=True)
class Annealing:
    """The settings of annealed chains, and what is run with them on one batch of images."""

    num_chains: int
    num_temperatures: int
    start: Start
    num_leapfrog: int
    num_warmup_chains: int
    target_acceptance: float

    def __post_init__(self) -> None:
        for name in ("num_chains", "num_temperatures", "num_leapfrog", "num_warmup_chains"):
            if getattr(self, name) < 1:
                raise ValueError(f"Expected {name} >= 1; got {getattr(self, name)}.")
        if not 0 < self.target_acceptance < 1:
            raise ValueError(f"Expected target_acceptance between 0 and 1; got {self.target_acceptance}.")
        if self.start not in ("guide", "prior"):
            raise ValueError(f"Expected start 'guide' or 'prior'; got {self.start!r}.")

    @property
    def schedule(self) -> list[float]:
        """b_0 = 0 < ... < b_T = 1: a sigmoid, dense at both ends."""
        steps = torch.linspace(-STEEPNESS, STEEPNESS, self.num_temperatures + 1, dtype=torch.float64).sigmoid()
        return ((steps - steps[0]) / (steps[-1] - steps[0])).tolist()

    def split(self, x: Tensor, chunk_size: int) -> tuple[Tensor, ...]:
        """Batches of images whose chains fit into a chunk."""
        for name, value in (("chunk_size", chunk_size), ("number of images", len(x))):
            if value < 1:
                raise ValueError(f"Expected {name} >= 1; got {value}.")
        return x.split(max(1, chunk_size // max(self.num_chains, self.num_warmup_chains)))

    def bar(self, num_images: int, *, progress: bool) -> Any:
        """A progress bar over the temperatures of so many images."""
        total = num_images * (self.num_temperatures - 1)
        shown = None if progress else True
        return tqdm(total=total, unit="step", unit_scale=True, desc="annealing", disable=shown, leave=False)

    def warm_up(self, model: Callee, guide: Callee, x: Tensor, done: Callable[[int], Any]) -> Tensor:
        """Step sizes (T - 1, B), adapted along the path on chains that are used for nothing else."""
        log_step = torch.full((len(x),), math.log(FIRST_STEP), device=x.device)
        inner = self.schedule[1:-1]
        if not inner:
            return log_step.new_empty(0, len(x))
        path = Path(model, guide, x, self.num_warmup_chains, self.start)
        repeats = max(1, LEAST_TRANSITIONS // len(inner))
        steps = []
        with _unvalidated():
            state = path.at(path.start)
            for _ in range(FIRST_TRANSITIONS):
                state, acceptance = path.move(state, inner[0], log_step.exp(), self.num_leapfrog)
                log_step = log_step + ADAPTATION_RATE * (acceptance - self.target_acceptance)
            for b in inner:
                for _ in range(repeats):
                    state, acceptance = path.move(state, b, log_step.exp(), self.num_leapfrog)
                    log_step = log_step + ADAPTATION_RATE * (acceptance - self.target_acceptance)
                steps.append(log_step.exp())
                done(len(x))
        return torch.stack(steps)

    def run(
        self, path: Path, u: Tensor, steps: Tensor, done: Callable[[int], Any], *, reverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Log weights (K, B), of p(x) from draws u of q0 or of 1/p(x) from draws of the posterior; acceptance (B,)."""
        schedule = self.schedule[::-1] if reverse else self.schedule
        acceptances = []
        with _unvalidated():  # a wild proposal is no error: it is rejected
            state = path.at(u)
            log_weight = (schedule[1] - schedule[0]) * state.log_ratio.double()
            for i, step in enumerate(steps.flip(0) if reverse else steps, 1):
                state, acceptance = path.move(state, schedule[i], step, self.num_leapfrog)
                log_weight = log_weight + (schedule[i + 1] - schedule[i]) * state.log_ratio.double()
                acceptances.append(acceptance)
                done(len(acceptance))
        mean = torch.stack(acceptances).mean(0) if acceptances else steps.new_full((steps.shape[1],), math.nan)
        return log_weight.view(path.num_chains, -1), mean

    def gather(self, results: list[tuple[Tensor, Tensor, Tensor]]) -> AnnealedLogMarginal:
        """The result over all images, from log weights, acceptance and step sizes of each batch."""
        weights, acceptance, steps = (torch.cat(parts, -1).cpu() for parts in zip(*results, strict=True))
        estimate = WeightSum.empty(weights.shape[1]).add(weights).result()
        if bad := int((~estimate.log_prob.isfinite()).sum()):
            warnings.warn(
                f"log p(x) is not finite for {bad:,} of {len(estimate):,} images: every chain had weight zero, or one "
                f"started where the density is not a number. Find them with result.log_prob.isfinite().",
                stacklevel=3,
            )
        return AnnealedLogMarginal(estimate, acceptance.double(), steps)


@dataclass(frozen=True)
class State:
    """Points of the chains, and the log densities there. Rows R = K B: all images, chain after chain."""

    u: Tensor  # (R, D), unconstrained
    log_start: Tensor  # log q0(z), (R,)
    log_joint: Tensor  # log p(x, z), (R,)
    log_jacobian: Tensor  # log |dz/du|, (R,)

    @property
    def log_ratio(self) -> Tensor:
        """log p(x, z) - log q0(z), (R,)."""
        return self.log_joint - self.log_start

    def log_density(self, b: float) -> Tensor:
        """Of u, on the geometric path, not normalized (R,)."""
        return (1 - b) * self.log_start + b * self.log_joint + self.log_jacobian


class Path:
    """The geometric path q0(z)^(1-b) p(x, z)^b for K copies of images x, in unconstrained coordinates u (R, D).

    Attributes:
        start: u (R, D), a draw of q0.
    """

    def __init__(self, model: Callee, guide: Callee, x: Tensor, num_chains: int, start: Start) -> None:
        self.model, self.num_chains = model, num_chains
        self.rows = x.repeat(num_chains, *[1] * (x.dim() - 1))  # (R, ...)
        self.guide = guide if start == "guide" else None
        self.fixed_guide: poutine.Trace | None = None
        if self.guide is None:
            model_trace, guide_trace = poutine.trace(model).get_trace(self.rows), poutine.Trace()
        else:
            _check_guide(model, self.guide, self.rows)
            model_trace, guide_trace = traces(model, self.guide, self.rows)
            if len(list(sample_sites(guide_trace))) == 1:  # then its distribution depends on x alone: encode x once
                self.fixed_guide = guide_trace
        score_traces(model_trace, guide_trace, shape=(len(self.rows),))  # for its errors, while validation is on
        latents = unconstrained(model_trace)
        self.shapes = {name: u.shape[1:] for name, u in latents.items()}
        self.start = flat(latents)

    def at(self, u: Tensor) -> State:
        """The log densities at u (R, D)."""
        parts = u.split([shape.numel() for shape in self.shapes.values()], 1)
        named = zip(self.shapes.items(), parts, strict=True)
        given = {name: part.reshape(len(u), *shape) for (name, shape), part in named}
        placing = _Placing(given)
        with placing:
            model_trace = poutine.trace(self.model).get_trace(self.rows)
        if self.fixed_guide is not None:
            guide_trace = self.fixed_guide.copy()
            for name, site in sample_sites(guide_trace):
                guide_trace.nodes[name] = {**site, "value": model_trace.nodes[name]["value"]}
        elif self.guide is not None:
            guide_trace = poutine.trace(poutine.replay(self.guide, trace=model_trace)).get_trace(self.rows)
        else:
            guide_trace = poutine.Trace()
        terms = score_traces(model_trace, guide_trace, shape=(len(self.rows),))
        log_joint = terms.log_likelihood + terms.log_prior
        return State(u, terms.log_prior if self.guide is None else terms.log_guide, log_joint, placing.log_jacobian)

    def gradient(self, u: Tensor, b: float) -> Tensor:
        """Of the log density in u (R, D)."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.at(u).log_density(b).sum(), u)
        return gradient

    def move(self, state: State, b: float, step: Tensor, num_leapfrog: int) -> tuple[State, Tensor]:
        """One Hamiltonian transition with step sizes (B,): the next state, and mean acceptance probabilities (B,)."""
        step = (step.repeat(self.num_chains) * (1 + JITTER * (2 * torch.rand_like(state.log_joint) - 1)))[:, None]
        first = momentum = torch.randn_like(state.u)  # (R, D)
        u = state.u + step / 2 * momentum
        finite = torch.ones_like(state.log_joint, dtype=torch.bool)
        for left in reversed(range(num_leapfrog)):
            momentum = momentum + step * self.gradient(u, b)
            u = u + (step if left else step / 2) * momentum
            finite = finite & u.isfinite().all(1)
            u = torch.where(finite[:, None], u, state.u)  # a row that has left the numbers stays behind
        proposal = self.at(u)
        change = proposal.log_density(b) - state.log_density(b) + (first.square() - momentum.square()).sum(1) / 2
        # A comparison with nan is false: rejected, as is +inf, a density that is no number to stand on.
        valid = finite & proposal.log_density(b).isfinite() & ~change.isnan()
        acceptance = torch.where(valid, change.clamp(max=0).exp(), 0.0)
        accepted = torch.rand_like(acceptance) < acceptance
        merged = (
            torch.where(accepted if new.dim() == 1 else accepted[:, None], new, old)
            for new, old in zip(vars(proposal).values(), vars(state).values(), strict=True)
        )
        return State(*merged), acceptance.view(self.num_chains, -1).mean(0)


def unconstrained(model_trace: poutine.Trace) -> dict[str, Tensor]:
    """The latents of a trace, by site, in unconstrained space and with the images first: (R, ...)."""
    latents = {}
    for name, site in _latents(model_trace):
        transform, row = _coordinates(name, site["fn"])
        latents[name] = transform.inv(site["value"]).movedim(row, 0)
    return latents


def flat(latents: dict[str, Tensor]) -> Tensor:
    """All sites side by side, u (R, D)."""
    if not latents:
        raise ValueError("Expected a model with a latent site; got none: its log p(x) is a plain log_prob.")
    return torch.cat([u.reshape(len(u), -1) for u in latents.values()], 1)


class _Placing(Messenger):
    """Gives each latent site the value z = T(u), T the bijection onto the support of its prior, which may depend on
    the sites before; sums log |dz/du|."""

    def __init__(self, given: dict[str, Tensor]) -> None:
        super().__init__()
        self.given, self.log_jacobian = given, torch.zeros(())

    def _pyro_sample(self, msg: Any) -> None:
        if msg["name"] not in self.given:
            return
        transform, row = _coordinates(msg["name"], msg["fn"])
        u = self.given[msg["name"]].movedim(0, row)
        msg["value"], msg["done"] = transform(u), True
        log_jacobian = transform.log_abs_det_jacobian(u, msg["value"])
        log_jacobian = sum_rightmost(log_jacobian, msg["fn"].event_dim - transform.codomain.event_dim)
        if log_jacobian.dim() > 1:  # inner plates, left of the images
            log_jacobian = log_jacobian.sum(tuple(range(log_jacobian.dim() - 1)))
        self.log_jacobian = self.log_jacobian + log_jacobian


def _latents(trace: poutine.Trace) -> list[tuple[str, Any]]:
    return [(name, site) for name, site in sample_sites(trace) if not site["is_observed"]]


def _coordinates(name: str, prior: Any) -> tuple[Transform, int]:
    """The bijection from unconstrained space onto the support of a site, and the dimension of the images there."""
    if prior.support.is_discrete:
        raise ValueError(
            f"Expected continuous latents, which Hamiltonian transitions can move; site {name!r} is discrete. Sum it "
            f"out inside a distribution (such as MixtureSameFamily), or use log_marginal."
        )
    # torch wraps a mixture's support, and has no bijection for the wrapper.
    support = prior.support.base_constraint if isinstance(prior.support, MixtureSameFamilyConstraint) else prior.support
    try:
        transform = biject_to(support)
    except NotImplementedError:
        raise ValueError(
            f"Expected a support with a bijection from unconstrained space; site {name!r} has {prior.support}. "
            f"Register one with torch.distributions.biject_to, or use log_marginal."
        ) from None
    event_dim = prior.event_dim - transform.codomain.event_dim + transform.domain.event_dim
    return transform, -1 - event_dim


def _check_guide(model: Callee, guide: Callee, rows: Tensor) -> None:
    """Raise a ValueError unless guide and prior have the same support and the guide has a density of its own."""
    with _unvalidated():  # else the model may stumble over the guide's draws before they are looked at
        model_trace, guide_trace = traces(model, guide, rows)
        prior_trace = poutine.trace(model).get_trace(rows)
        at_prior = poutine.trace(poutine.replay(guide, trace=prior_trace)).get_trace(rows)
    for name, site in sample_sites(guide_trace):
        base = site["fn"]
        while hasattr(base, "base_dist"):
            base = base.base_dist
        if site["infer"].get("is_auxiliary") or isinstance(base, dist.Delta):
            raise ValueError(
                f"Expected a guide that draws each latent from a density; its site {name!r} is auxiliary or a point "
                f"mass. Use start='prior'."
            )
    for name, site in _latents(model_trace):
        prior, guided = site["fn"].support, at_prior.nodes[name]["fn"].support
        if not (prior.check(site["value"]).all() and guided.check(prior_trace.nodes[name]["value"]).all()):
            raise ValueError(
                f"Expected the guide of site {name!r} on the support of its prior; draws of the one lie outside the "
                f"support of the other. Give the guide a distribution on the prior's support, or use start='prior'."
            )


@contextmanager
def _unvalidated() -> Iterator[None]:
    """Distributions let every value and parameter pass; as before afterwards, Pyro's switches and torch's own."""
    validated = torch.distributions.Distribution._validate_args
    try:
        with pyro.validation_enabled(False):
            yield
    finally:
        torch.distributions.Distribution.set_default_validate_args(validated)
