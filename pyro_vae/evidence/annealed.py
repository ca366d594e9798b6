"""log p(x) by annealed importance sampling with Hamiltonian transitions, for any pair with continuous latents."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from ..pairs import Callee, evaluating, seeded
from .importance import WeightSum
from .path import Path, Start, unvalidated
from .result import LogMarginal

STEEPNESS = 4.0  # of the sigmoid schedule (Grosse, Ghahramani, Adams 2015)
FIRST_STEP = 0.1  # where the warm-up starts
FIRST_TRANSITIONS = 50  # of the warm-up, before the temperature moves
LEAST_TRANSITIONS = 100  # of the warm-up along the path: with few temperatures, several at each
ADAPTATION_RATE = 1.0  # of log step size, for each transition: slower, it lags behind a posterior that grows narrow


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
        >>> import pyro, pyro.distributions as dist
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
        with unvalidated():
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
        with unvalidated():  # a wild proposal is no error: it is rejected
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
