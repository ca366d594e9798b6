"""log p(x) by annealed importance sampling with Hamiltonian transitions, for any pair with continuous latents."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ..compiled.elbo import pair_name
from ..compiled.when_it_pays import SAVED_PER_GRADIENT, compile_if_worthwhile
from ..pairs.checks import check_guide
from ..pairs.contexts import evaluating, seeded, unvalidated
from ..pairs.modules import Callee, modules_of
from .annealing_path import Path, Start, State
from .annealing_schedule import AnnealingSettings, Plan, Schedule, adapted
from .counter_random import CounterRandom, generators, image_keys, seed_of
from .importance import OnResult, chosen_images, shared_error
from .result import LogMarginal, warn_of
from .weights import WeightSum

FIRST_STEP = 0.1  # where the warm-up starts
FIRST_TRANSITIONS = 50  # of the warm-up, before the temperature moves
LEAST_TRANSITIONS = 100  # of the warm-up along the path: with few temperatures, several at each
ADAPTATION_RATE = 1.0  # of log step size, for each transition: slower, it lags behind a posterior that grows narrow
WARM_UP, REVERSE = 2**30, 2**31  # where their random streams begin


def annealed_log_marginal(
    model: Callee,
    guide: Callee,
    x: Tensor,
    *,
    num_chains: int = 32,
    num_temperatures: int = 300,
    start: Start = "guide",
    schedule: Schedule = "sigmoid",
    num_leapfrog: int = 5,
    num_warmup_chains: int = 4,
    target_acceptance: float = 0.9,
    chunk_size: int = 4096,
    compile: bool | Literal["auto"] = "auto",
    seed: int | None = 0,
    progress: bool = False,
    only: Sequence[int] | None = None,
    on_result: OnResult | None = None,
) -> LogMarginal:
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
        num_temperatures: T, steps from q0 to the posterior.
        start: q0, "guide" for q(z|x) or "prior" for p(z).
        schedule: of the temperatures b, "sigmoid" for all images alike, or "adaptive": dense where the warm-up of an
            image saw log p(x, z) - log q0(z) vary most.
        num_leapfrog: leapfrog steps of a transition.
        num_warmup_chains: chains for each image in the warm-up, which is run along the same path.
        target_acceptance: mean acceptance probability that the step sizes are adapted to.
        chunk_size: largest number of (image, chain) pairs in memory at once; one image's chains stay together.
        compile: run transitions in one recorded and compiled graph; "auto" where that saves more time than it takes.
        seed: of the draws, which belong to images and chains as in `log_marginal`; None takes one from the global
            stream.
        progress: show a progress bar on the terminal.
        only: numbers of the images of x to estimate, as in `log_marginal`.
        on_result: called with numbers of images and their results, as soon as they are there.

    Returns:
        LogMarginal: log_prob, standard_error, ess and khat over the chains of each image, (N,), a stochastic lower
        bound; details "acceptance" (N,), mean acceptance probability of its transitions (nan without any), and
        "step_size" (N, num_temperatures - 1), leapfrog step at each temperature between the two ends,
        "temperatures" (N, num_temperatures + 1).

    Raises:
        ValueError: a count below 1, no images, a discrete latent, a guide whose support is not the prior's, a site
            outside the plate over images, model and guide that do not fit together, or a pair that scores an image by
            those beside it.

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
    annealing = AnnealingSettings(
        num_chains, num_temperatures, start, schedule, num_leapfrog, num_warmup_chains, target_acceptance
    )
    seed = int(torch.randint(2**62, ())) if seed is None else seed
    wanted = chosen_images(len(x), only)
    results = []
    with seeded(seed), evaluating(model, guide), annealing.bar(2 * len(wanted), progress=progress) as bar:
        if start == "guide":
            check_guide(model, guide, x[:3])
        batches = annealing.batches(wanted, chunk_size)
        chains = Chains(annealing, model, guide, len(batches), compile, x.device, bar.update)
        keys = image_keys(x, seed)
        for some, padded in batches:
            batch, its_keys = x[padded], keys[padded]
            path = chains.begin(batch, its_keys, num_chains, 0)
            plan = chains.warm_up(batch, its_keys)
            weights, acceptance = chains.run(path, path.start, batch, its_keys, plan)
            result = gather(weights, acceptance, plan)[: len(some)].with_shared_error(shared_error(model, guide))
            results.append(result)
            if on_result is not None:
                on_result(some, result)
    result = LogMarginal.join(results)
    warn_of(result, wanted, stacklevel=3)
    return result


class Chains:
    """Runs annealed chains of a pair; their transitions go through one graph where that pays."""

    def __init__(
        self,
        annealing: AnnealingSettings,
        model: Callee,
        guide: Callee,
        num_batches: int,
        compile: bool | Literal["auto"],
        device: torch.device,
        done: Callable[[int], Any],
    ) -> None:
        self.annealing, self.pair, self.done = annealing, (model, guide), done
        self.path: Path | None = None
        self.by_key: bool | None = None
        gradients = 2 * num_batches * annealing.num_temperatures * annealing.num_leapfrog
        saves = SAVED_PER_GRADIENT * gradients
        self.moved = compile_if_worthwhile(
            self._moved,
            modules=modules_of(model, guide).values(),
            compile=compile,
            precision="fp32",
            saves=saves,
            device=device,
            name=pair_name(model, guide),
        )

    def begin(self, x: Tensor, keys: Tensor, num_chains: int, stream: int) -> Path:
        """The path of some images, with draws of q0 to start from."""
        number, start = torch.tensor(stream, device=x.device), self.annealing.start
        with CounterRandom(keys, torch.zeros_like(number), num_chains, number):
            path = Path(*self.pair, x, num_chains, start)
        if self.by_key is None:
            self.by_key = self._draws_by_key(x[:1], keys[:1])
        if not self.by_key:  # image by image
            starts = []
            for image, key in zip(x.split(1), keys.tolist(), strict=True):
                torch.manual_seed(seed_of(key, stream))
                starts.append(Path(*self.pair, image, num_chains, start).start)
            path.start = torch.stack(starts, 1).flatten(0, 1)
        if self.path is None:
            path.check_company()
            self.path = path
        return path

    def _draws_by_key(self, x: Tensor, keys: Tensor) -> bool:
        """Whether draws of q0 can be told apart by image: torch's own generator stays untouched."""
        before, zero = generators(x.device), torch.zeros((), dtype=torch.int64, device=x.device)
        for num_chains in (5, 7):  # by one size alone, something else of it passes for the chains
            with CounterRandom(keys, zero, num_chains):
                Path(*self.pair, x, num_chains, self.annealing.start)
        return all(map(torch.equal, before, generators(x.device)))

    def _moved(self, x: Tensor, keys: Tensor, packed: Tensor, b: Tensor, step: Tensor, stream: Tensor) -> Tensor:
        """A transition of all chains, as a function of tensors alone: packed state and acceptance (R, D + 4)."""
        assert self.path is not None
        num_chains = len(packed) // len(x)
        path = self.path.continued(x, num_chains)  # what the guide draws here is not used
        with CounterRandom(keys, torch.zeros_like(stream), num_chains, stream):
            state, acceptance = path.move(State.unpacked(packed), b, step, self.annealing.num_leapfrog)
        return torch.cat([state.packed(), acceptance.repeat(num_chains)[:, None]], 1)

    def move(self, x: Tensor, keys: Tensor, state: State, b: Tensor, step: Tensor, stream: int) -> tuple[State, Tensor]:
        """The next state, and mean acceptance probabilities (B,)."""
        number = torch.tensor(stream, device=x.device)
        moved = self.moved(x, keys, state.packed(), b.to(step.dtype), step, number)
        return State.unpacked(moved[:, :-1]), moved[: len(x), -1]

    def warm_up(self, x: Tensor, keys: Tensor) -> Plan:
        """Temperatures and step sizes, adapted along the path on chains that are used for nothing else."""
        annealing = self.annealing
        log_step = torch.full((len(x),), math.log(FIRST_STEP), device=x.device)
        temperatures = annealing.sigmoid().to(x.device)[:, None].expand(-1, len(x))
        inner = temperatures[1:-1]
        if not len(inner):
            return Plan(temperatures, log_step.new_empty(0, len(x)))
        path = self.begin(x, keys, annealing.num_warmup_chains, WARM_UP)
        repeats = max(1, LEAST_TRANSITIONS // len(inner))
        log_steps, spread, stream = [], [], WARM_UP
        with unvalidated():
            state = path.at(path.start)
            for i, b in enumerate([*[inner[0]] * FIRST_TRANSITIONS, *inner.repeat_interleave(repeats, 0)]):
                stream += 1
                state, acceptance = self.move(x, keys, state, b, log_step.exp(), stream)
                log_step = log_step + ADAPTATION_RATE * (acceptance - annealing.target_acceptance)
                if i >= FIRST_TRANSITIONS and (i - FIRST_TRANSITIONS) % repeats == repeats - 1:
                    log_steps.append(log_step)
                    ratio = state.log_ratio.view(path.num_chains, -1)
                    spread.append(ratio.var(0) if path.num_chains > 1 else torch.ones_like(ratio[0]))
                    self.done(len(x))
        if annealing.schedule == "adaptive":
            return adapted(temperatures, torch.stack(log_steps), torch.stack(spread))
        return Plan(temperatures, torch.stack(log_steps).exp())

    def run(
        self, path: Path, u: Tensor, x: Tensor, keys: Tensor, plan: Plan, *, reverse: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Log weights (K, B), of p(x) from draws u of q0 or of 1/p(x) from draws of the posterior; acceptance (B,)."""
        temperatures, steps = (part.flip(0) if reverse else part for part in plan)
        acceptances = []
        with unvalidated():  # a wild proposal is no error: it is rejected
            state = path.at(u)
            change = temperatures.diff(dim=0).repeat(1, path.num_chains)  # (T, R)
            log_weight = change[0] * state.log_ratio.double()
            for i, step in enumerate(steps, 1):
                state, acceptance = self.move(x, keys, state, temperatures[i], step, i + REVERSE * reverse)
                log_weight = log_weight + change[i] * state.log_ratio.double()
                acceptances.append(acceptance)
                self.done(len(acceptance))
        mean = torch.stack(acceptances).mean(0) if acceptances else steps.new_full((len(x),), math.nan)
        return log_weight.view(path.num_chains, -1), mean


def gather(weights: Tensor, acceptance: Tensor, plan: Plan) -> LogMarginal:
    """The result from log weights (K, B), acceptance (B,) and the plan."""
    total = WeightSum(weights.shape[1], len(weights))
    total.add(weights.cpu())
    result = total.result()
    return result.with_details(
        acceptance=acceptance.double().cpu(),
        step_size=plan.steps.T.contiguous().cpu(),
        temperatures=plan.temperatures.T.contiguous().cpu(),
    )
