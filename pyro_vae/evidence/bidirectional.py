"""How far annealed estimates can be trusted: log p(x) from both sides, on data simulated from the model."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pyro import poutine
from torch import Tensor

from ..disk.json_files import null_for_nan
from ..pairs.contexts import evaluating, seeded, unvalidated
from ..pairs.densities import check_guide
from ..pairs.modules import Callee
from ..pairs.scoring import score_traces
from ..pairs.sites import sample_sites
from ..pairs.tensors import require_tensor
from .annealed import Chains, gather
from .annealing_path import Path, Start, flat, unconstrained
from .annealing_schedule import AnnealingSettings, Plan, Schedule
from .counter_random import CounterRandom, generators, image_keys, seed_of
from .importance import chosen_images, shared_error
from .result import LogMarginal, counted
from .saved import load_arrays, of_prefix, save_arrays, with_prefix

SIMULATION, APART = 3 * 2**30, 7 * 2**29  # random streams of the simulated images, and of chains that move apart
MOVES = 20  # by which they do


@dataclass(frozen=True)
class BidirectionalGap:
    """Stochastic bounds of log p(x) from both sides, in nats, for images x drawn from the model. Tensors are (N,).

    Attributes:
        lower: forward chains, from q0 to the posterior; the mean of its log_prob lies below log p(x).
        upper: reverse chains, from an exact posterior sample to q0; the mean of its log_prob lies above log p(x). An
            image has one such sample, and its chains first move apart from there. As far as they do not come apart, its
            standard error is too small: the spread over images, as in `mean_gap_standard_error`, holds that, too.
        x: the images (N, ...).
    """

    lower: LogMarginal
    upper: LogMarginal
    x: Tensor

    @property
    def bound(self) -> str:
        """ "both": log p(x) is bounded from both sides."""
        return "both"

    @property
    def gap(self) -> Tensor:
        """upper - lower, in nats: in expectation, the sum of both errors. Noise can make it negative for an image."""
        return self.upper.log_prob - self.lower.log_prob

    @property
    def gap_standard_error(self) -> Tensor:
        """Monte Carlo standard error of gap, with the limits of ``upper``."""
        return torch.hypot(self.upper.standard_error, self.lower.standard_error)

    @property
    def mean_gap(self) -> float:
        """Mean of gap over the images, in nats per image: in expectation a bound on the bias of the mean of lower."""
        return self.gap.mean().item()

    @property
    def mean_gap_standard_error(self) -> float:
        """Standard error of mean_gap from the spread over images, which holds all Monte Carlo error; nan for one."""
        return self.gap.std().item() / math.sqrt(len(self)) if len(self) > 1 else math.nan

    @property
    def num_temperatures(self) -> int:
        """Steps of the path."""
        return self.lower.details["step_size"].shape[1] + 1

    def __len__(self) -> int:
        return len(self.upper)

    def __getitem__(self, images: Any) -> BidirectionalGap:
        """The results of some of the images: a slice, indices or a mask."""
        return BidirectionalGap(self.lower[images], self.upper[images], self.x[images])

    @staticmethod
    def join(results: Sequence[BidirectionalGap]) -> BidirectionalGap:
        """The results of several sets of images, one after the other, as one."""
        lower, upper = (LogMarginal.join([getattr(r, side) for r in results]) for side in ("lower", "upper"))
        return BidirectionalGap(lower, upper, torch.cat([r.x for r in results]))

    def to_json(self) -> dict[str, Any]:
        """The numbers over all images, ready for JSON; None for a number that is not finite."""
        numbers = {"mean_gap": self.mean_gap, "mean_gap_standard_error": self.mean_gap_standard_error}
        sides = {"lower": self.lower.to_json(), "upper": self.upper.to_json()}
        return {**null_for_nan(numbers), "num_images": len(self), **sides}

    def save(self, path: str | pathlib.Path, about: Mapping[str, Any] | None = None) -> None:
        """Save as PATH.json (numbers over all images, and what else is said about them) and PATH.npz (the images, and
        the arrays of each side), as `LogMarginal.save` does."""
        sides = {**with_prefix("lower", self.lower.arrays()), **with_prefix("upper", self.upper.arrays())}
        save_arrays(path, {"x": self.x, **sides}, {**self.to_json(), **(about or {})}, kind="BidirectionalGap")

    @staticmethod
    def load(path: str | pathlib.Path) -> BidirectionalGap:
        """What `save` has saved.

        Raises:
            FileNotFoundError: PATH.json or PATH.npz is not there.
            ValueError: one of them is damaged, or they do not belong together.
        """
        arrays, about = load_arrays(path, kind="BidirectionalGap")
        lower, upper = (
            LogMarginal.from_arrays(of_prefix(side, arrays), bound=about[side]["bound"]) for side in ("lower", "upper")
        )
        return BidirectionalGap(lower, upper, arrays["x"])

    def __repr__(self) -> str:
        return (
            f"BidirectionalGap({self.mean_gap:.3f} +- {self.mean_gap_standard_error:.3f} nats per image over "
            f"{len(self):,} simulated images, from {self.lower.mean:.3f} to {self.upper.mean:.3f}; "
            f"{counted(self.lower.num_samples)} chains, {self.num_temperatures:,} temperatures)"
        )


def bidirectional(
    model: Callee,
    guide: Callee,
    like: Tensor,
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
    on_result: Callable[[list[int], BidirectionalGap], None] | None = None,
) -> BidirectionalGap:
    """Bound log p(x) from below and above on images simulated from the model, by chains in both directions.

    lower = log mean_k w_k by `annealed_log_marginal`,  upper = -log mean_k v_k,  E[w] = p(x),  E[v] = 1 / p(x)

    The model's own draw (z, x) makes z an exact sample of p(z|x). From there each reverse chain first takes a few
    transitions that leave the posterior invariant, so that chains of one image start from exact samples that depend
    little on each other, and then the forward chains' transitions and weights the other way round. In expectation
    lower <= log p(x) <= upper, so the mean gap bounds how far the forward estimate is too low.

    To judge `annealed_log_marginal` on real data, run this with the same settings. A mean gap of 0.1 says that on
    images from the model the mean estimate is at most 0.1 nats too low. That carries over as far as the real images
    resemble the model's: for a guide or a decoder that has not seen such images, the gap can be larger or smaller than
    the error on real data. A gap that is not small is a warning in any case: take more temperatures. With
    start="guide", look at the gap of start="prior" as well, which does not depend on what the guide has learned.

    Args:
        model: p(x, z), whose one observed site is its argument x as it is.
        guide: q(z|x); with start="prior" not used.
        like: any tensor of the wanted number and shape of images (N, ...), on the device of the pair; its values are
            not used.
        num_chains: K, chains for each image in either direction.
        num_temperatures: T, as of `annealed_log_marginal`, and so are all that follow.
        start: q0, "guide" for q(z|x) or "prior" for p(z).
        schedule: "sigmoid" or "adaptive".
        num_leapfrog: leapfrog steps of a transition.
        num_warmup_chains: chains for each image in the warm-up, which serves both directions.
        target_acceptance: mean acceptance probability that the step sizes are adapted to.
        chunk_size: largest number of (image, chain) pairs in memory at once; one image's chains stay together.
        compile: as of `annealed_log_marginal`.
        seed: of images and chains, which belong to the number of an image; None takes one from the global stream.
        progress: show a progress bar on the terminal.
        only: numbers of the images to simulate, from 0 to N - 1; each is the same as with all.
        on_result: called with numbers of images and their results, as soon as they are there.

    Returns:
        BidirectionalGap: lower, upper and gap of each image with their errors, (N,), and the images x.

    Raises:
        ValueError: as `annealed_log_marginal`; a model without observed site, with several, or that observes anything
            else than its argument.

    Reference:
        Grosse, Ghahramani, Adams 2015, "Sandwiching the marginal likelihood using bidirectional Monte Carlo"; Grosse,
        Ancha, Roy 2016, "Measuring the reliability of MCMC inference with bidirectional Monte Carlo"; Wu, Burda,
        Salakhutdinov, Grosse 2017, "On the quantitative analysis of decoder-based generative models".

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)
        >>> def guide(x):  # the exact posterior: no gap
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
        >>> result = bidirectional(model, guide, torch.zeros(10), num_temperatures=5, num_leapfrog=2)
        >>> abs(result.mean_gap) < 1e-4
        True
    """
    require_tensor(like, what="like")
    annealing = AnnealingSettings(
        num_chains, num_temperatures, start, schedule, num_leapfrog, num_warmup_chains, target_acceptance
    )
    seed = int(torch.randint(2**62, ())) if seed is None else seed
    wanted = chosen_images(len(like), only)
    results = []
    with seeded(seed), evaluating(model, guide), annealing.bar(3 * len(wanted), progress=progress) as bar:
        keys = image_keys(torch.arange(len(like))[:, None], seed).to(like.device)  # by number: there are no images yet
        few, _ = simulate(model, like[:3])
        check_guide(model, guide if start == "guide" else None, few, elsewhere="Use start='prior'.")
        batches = annealing.batches(wanted, chunk_size)
        chains = Chains(annealing, model, guide, len(batches), compile, like.device, bar.update)
        error = shared_error(model, guide)
        for some, padded in batches:
            its_keys = keys[padded]
            x, u = simulated_by_key(model, like[padded], its_keys)
            path = chains.begin(x, its_keys, num_chains, 0)
            plan = chains.warm_up(x, its_keys)
            forward = gather(*chains.run(path, path.start, x, its_keys, plan), plan)
            u = apart(chains, path, u.repeat(num_chains, 1), x, its_keys, plan)
            backward = gather(*chains.run(path, u, x, its_keys, plan, reverse=True), plan)
            lower, upper = (side.with_shared_error(error) for side in (forward, backward.inverse()))
            result = BidirectionalGap(lower, upper, x.cpu())[: len(some)]
            results.append(result)
            if on_result is not None:
                on_result(some, result)
    return BidirectionalGap.join(results)


def simulated_by_key(model: Callee, like: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """As `simulate`, each image by random numbers of its own; one at a time where they cannot be told apart."""
    before, number = generators(like.device), torch.tensor(SIMULATION, device=like.device)
    with CounterRandom(keys, torch.zeros_like(number), 1, number):
        x, u = simulate(model, like)
    if all(map(torch.equal, before, generators(like.device))):
        return x, u
    drawn = []
    for image, key in zip(like.split(1), keys.tolist(), strict=True):
        torch.manual_seed(seed_of(key, SIMULATION))
        drawn.append(simulate(model, image))
    return torch.cat([x for x, _ in drawn]), torch.cat([u for _, u in drawn])


def simulate(model: Callee, like: Tensor) -> tuple[Tensor, Tensor]:
    """Images x (B, ...) drawn from the model, and the latents they were drawn from, u (B, D) in unconstrained space."""
    drawn = poutine.trace(poutine.uncondition(model)).get_trace(like)
    observed = {name: site for name, site in sample_sites(drawn) if site["infer"].get("was_observed")}
    if len(observed) != 1:
        raise ValueError(
            f"Expected a model with one observed site, from which images can be drawn; got {len(observed)}: "
            f"{sorted(observed)}. Estimate with annealed_log_marginal alone."
        )
    ((name, site),) = observed.items()
    x: Tensor = site["value"]
    if x.shape != like.shape:
        raise ValueError(
            f"Expected site {name!r} to have the shape of the images, {tuple(like.shape)}; got {tuple(x.shape)}. "
            f"Let the model observe its argument as it is."
        )
    replayed = poutine.trace(poutine.replay(model, trace=drawn)).get_trace(x)
    if not torch.equal(replayed.nodes[name]["value"], x):
        raise ValueError(f"Expected site {name!r} to observe the model's argument as it is; it observes other values.")
    score_traces(replayed, poutine.Trace(), shape=(len(x),))  # for its errors: a latent outside the plate over images
    return x, flat(unconstrained(replayed))


def apart(chains: Chains, path: Path, u: Tensor, x: Tensor, keys: Tensor, plan: Plan) -> Tensor:
    """Samples u (K B, D) of the posterior, moved on by transitions that leave it invariant: as exact as before."""
    if not len(plan.steps):
        return u
    step = plan.steps[-1]
    with unvalidated():  # a wild proposal is no error: it is rejected
        state = path.at(u)
        for i in range(MOVES):
            state, _ = chains.move(x, keys, state, torch.ones_like(step), step, APART + i)
    return state.u
