"""Damaged data restored by the model that was trained on whole ones: draws of the posterior given what was observed."""

from __future__ import annotations

import functools
import inspect
import math
from typing import Any

import pyro.distributions as dist
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..arguments.at_least import at_least
from ..evidence.annealing_path import Path, State
from ..evidence.drawing import halves, handful
from ..evidence.words import data_points
from ..output.progress import Progress, progress_bar
from ..pairs.batch import Batch, taking
from ..pairs.contexts import evaluating, seeded, unvalidated
from ..pairs.densities import check_guide
from ..pairs.enumerated import SummedOut, summed_out
from ..pairs.inputs import Inputs, as_points
from ..pairs.modules import Callee
from ..pairs.scoring import traces
from ..pairs.sites import counted_sites, counts, sample_sites
from .observations import Observation
from .restored import Restoration

FIRST_STEP = 0.1  # of the leapfrog, where it begins to adapt
ADAPTATION_RATE = 0.5  # of its logarithm, for each transition
BEFORE = "p(x|z)"  # under which a site keeps its distribution before the observation
TARGET = 0.8  # mean acceptance that it is adapted to


def restore(
    model: Callee,
    guide: Callee,
    y: Inputs,
    observation: Observation,
    *,
    guess: Inputs | None = None,
    num_samples: int = 8,
    num_proposals: int = 100,
    num_transitions: int = 50,
    num_leapfrog: int = 5,
    chunk_size: int = 1024,
    seed: int = 0,
    progress: bool = True,
) -> Restoration:
    """Draw from p(z|y) for damaged data y, and give E[x|z, y] for each draw.

    p(z|y) ~ p(z) p(y|z),  p(y|z) = the observation of p(x|z)

    The guide is called with a guess of x and only proposes: of its draws, chains are chosen by their importance weights
    p(z) p(y|z) / q(z|guess), and moved on by Hamiltonian transitions that leave p(z|y) as it is. The step size of each
    data point is adapted in the first half of the transitions. Where the guess is far from x, few draws have weight:
    ``ess`` says so, and more transitions help. Chains that start in one mode of several may stay there.

    Args:
        model: p(x, z), called with x (B, ...) alone, which one site observes.
        guide: q(z|x).
        y: damaged data (N, ...), a tensor on the device of the pair, or an array: see
            `pyro_vae.pairs.inputs.as_points`; with `Inpainting` nan where x is missing.
        observation: from p(x|z) to p(y|z): `Inpainting`, `Denoising`, `SuperResolution`, or any function of yours, such
            as ``lambda px: dist.Normal(blur(px.mean), 0.1).to_event(3)``.
        guess: x for the guide (N, ...), by default what the observation makes of y; needed for a function of yours.
        num_samples: S, chains and samples for each data point.
        num_proposals: draws of the guide for each.
        num_transitions: of each chain; 0 leaves the draws as they were chosen.
        num_leapfrog: leapfrog steps of a transition.
        chunk_size: largest number of (data point, draw) pairs at once.
        seed: of all draws.
        progress: show a progress bar, of what takes longer than two seconds.

    Raises:
        ValueError: counts below 1, no guess, a model with several observed sites or a discrete latent, y of another
            shape than the observation's, or outside its support.
        TypeError: y is no tensor or array, or an observation that p(x|z) does not allow.

    Reference:
        Rubin 1988, "Using the SIR algorithm to simulate posterior distributions"; Neal 2011, "MCMC using Hamiltonian
        dynamics"; Rezende, Mohamed, Wierstra 2014, "Stochastic backpropagation and approximate inference in deep
        generative models" (missing data).

    Example:
        >>> import pyro, pyro.distributions as dist; from pyro_vae import Inpainting
        >>> def model(x):  # two values that share z ~ N(0, 1), with noise of 0.1
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([len(x)]))
        ...         pyro.sample("x", dist.Normal(z[:, None].expand(-1, 2), 0.1).to_event(1), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("z", dist.Normal(x.sum(-1), 0.3))
        >>> found = restore(model, guide, torch.tensor([[2.0, torch.nan]]), Inpainting(), num_samples=100)
        >>> found.mean.round(decimals=1)  # what is missing is like what is known
        tensor([[2., 2.]])
    """
    at_least(1, num_samples=num_samples, num_proposals=num_proposals, num_leapfrog=num_leapfrog, chunk_size=chunk_size)
    at_least(0, num_transitions=num_transitions)
    points = _points(model, guide, y, observation, guess)
    observed_model, observed_guide = taking(points, *observing(model, guide, observation))
    samples, ess, acceptance = [], [], []
    together = max(1, chunk_size // max(num_samples, num_proposals))
    total = len(points) * (num_transitions + 1)
    bar = progress_bar(total, unit="transition", shown=progress, description="restoring", scaled=True)
    with seeded(seed), evaluating(model, guide), bar:
        few_guesses, few = points[handful(points)].tensors
        _check_site(model, guide, few_guesses, few, observation)
        check_guide(observed_model, observed_guide, points, elsewhere="Use another guide.")
        for batch in points.split(together):
            path = Path(observed_model, observed_guide, batch, num_proposals, "guide")
            path.check_parts(halves(len(batch), batch.device))
            with unvalidated():
                state, size = _resampled(path.at(path.start), len(batch), num_samples)
                bar.update(len(batch))
                chains = path.continued(batch, num_samples)
                state, accepted = _moved(chains, state, num_transitions, num_leapfrog, bar)
                found = _restored(chains, state, observation)
            samples.append(found.view(num_samples, len(batch), *found.shape[1:]).movedim(0, 1).cpu())
            ess.append(size.cpu())
            acceptance.append(accepted.cpu())
    return Restoration(torch.cat(samples), torch.cat(ess), torch.cat(acceptance), num_proposals, num_transitions)


def observing(model: Callee, guide: Callee, observation: Observation) -> tuple[Callee, Callee]:
    """The pair for y: model(guess, y) and guide(guess, y), whose log p(y) `log_marginal` estimates, called with
    ``(guess, y)``.

    Args:
        model, guide: the pair for x.
        observation: from p(x|z) to p(y|z).
    """

    @functools.wraps(model)
    def observed_model(guess: Tensor, y: Tensor) -> Any:
        with _Observing(observation, y):
            return model(guess)

    @functools.wraps(guide)
    def observed_guide(guess: Tensor, y: Tensor) -> Any:
        return guide(guess)

    for function in (observed_model, observed_guide):  # not that of the function they wrap
        function.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in ("guess", "y")]
        )
    return observed_model, observed_guide


class _Observing(Messenger):
    """Observes y instead of x, where the model observes."""

    def __init__(self, observation: Observation, y: Tensor) -> None:
        super().__init__()
        self.observation, self.y = observation, y
        self.px: Any = None  # p(x|z)

    def _pyro_sample(self, msg: Any) -> None:
        if counts(msg) and msg["is_observed"] and not isinstance(msg["fn"], dist.Unit):
            msg["infer"] = {**msg["infer"], BEFORE: msg["fn"]}
            msg["fn"], msg["value"] = self.observation(msg["fn"]), self.y


def _points(model: Callee, guide: Callee, y: Inputs, observation: Observation, guess: Inputs | None) -> Batch:
    """The guess and y."""
    y = _one_tensor("y", as_points("y", y, model, guide))
    if guess is None:
        make = getattr(observation, "guess", None)
        if make is None:
            raise ValueError(
                "Expected a guess of x for the guide with an observation of your own; got none. Give guess=..., data "
                "of the shape of x, such as y enlarged, or the mean of the training data."
            )
        guess = make(y)
    guess = _one_tensor("guess", as_points("guess", guess, model, guide))
    if len(guess) != len(y):
        raise ValueError(f"Expected a guess for each of {data_points(len(y))}; got {len(guess):,}.")
    return Batch((guess, y))


def _one_tensor(name: str, points: Any) -> Tensor:
    """Raise a TypeError unless these data points are x alone."""
    if not isinstance(points, Tensor):
        raise TypeError(f"Expected one tensor or array for {name}; got several. Give that of x alone.")
    return points


def _check_site(model: Callee, guide: Callee, guess: Tensor, y: Tensor, observation: Observation) -> None:
    """Raise a ValueError unless one site is observed, for which y can stand by its shape."""
    model, guide = taking(guess, model, guide)
    model, guide = summed_out(model, guide, guess)
    if isinstance(model, SummedOut):
        raise ValueError(
            "Expected latents that are all drawn, so that chains can move them; got enumerated ones. Restoration is "
            "not known for those."
        )
    trace, _ = traces(model, guide, guess)
    observed = [name for name in counted_sites(trace, len(guess)) if not isinstance(trace.nodes[name]["fn"], dist.Unit)]
    if len(observed) != 1:
        raise ValueError(f"Expected a model that observes x at one site, which y takes the place of; got {observed}.")
    wanted = tuple(observation(trace.nodes[observed[0]]["fn"]).event_shape)
    if tuple(y.shape[1:]) != wanted:
        raise ValueError(
            f"Expected y of shape (N{''.join(f', {size}' for size in wanted)}), as the observation of x has it; got "
            f"{tuple(y.shape)}."
        )


def _resampled(state: State, count: int, num_samples: int) -> tuple[State, Tensor]:
    """Rows of a state drawn by their importance weights, so many for each data point; and the effective sample size."""
    weights = state.log_ratio.double().view(-1, count).nan_to_num(-math.inf).softmax(0)  # (K, B)
    if not weights.isfinite().all():
        raise ValueError(
            "Expected a draw of the guide that y is possible at; got none for some data points. Give more proposals, "
            "more noise, or another guess."
        )
    chosen = torch.multinomial(weights.T, num_samples, replacement=True).T  # (S, B)
    rows = (chosen * count + torch.arange(count, device=chosen.device)).flatten()
    return State.unpacked(state.packed()[rows], state.u.dtype), 1 / weights.square().sum(0)


def _moved(path: Path, state: State, num_transitions: int, num_leapfrog: int, bar: Progress) -> tuple[State, Tensor]:
    """The state after the transitions, and mean acceptance after the step sizes were adapted (B,)."""
    count = len(state.u) // path.num_chains
    log_step = torch.full((count,), math.log(FIRST_STEP), device=state.u.device)
    kept = []
    for number in range(num_transitions):
        state, acceptance = path.move(state, 1.0, log_step.exp(), num_leapfrog)
        if number < num_transitions // 2:
            log_step = log_step + ADAPTATION_RATE * (acceptance - TARGET)
        else:
            kept.append(acceptance)
        bar.update(count)
    nothing = torch.full((count,), math.nan, device=state.u.device)
    return state, torch.stack(kept).mean(0) if kept else nothing


def _restored(path: Path, state: State, observation: Observation) -> Tensor:
    """E[x|z, y] at each row (R, ...); E[x|z] with an observation that does not know better."""
    trace, _ = path.placed(state.u)
    (site,) = (site for _, site in sample_sites(trace) if BEFORE in site["infer"])
    px = site["infer"][BEFORE]
    restored = getattr(observation, "restored", None)
    return px.mean if restored is None else restored(px, path.rows.tensors[1])
