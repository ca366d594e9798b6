"""The path of distributions from a guide or prior to the posterior, over unconstrained latents, and moves along it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from pyro import poutine
from torch import Tensor

from ..pairs.batch import Points
from ..pairs.contexts import unvalidated
from ..pairs.modules import Callee
from ..pairs.particles import repeat_data
from ..pairs.scoring import drawn_from_prior, score_traces, traces
from ..pairs.sentences import in_a_sentence
from ..pairs.sites import counted_sites, is_summed_out, measure_of, sample_sites
from .latent_space import Placing, unconstrained

JITTER = 0.2  # of step sizes, relative, so that no trajectory closes on itself
Start = Literal["guide", "prior"]


@dataclass(frozen=True)
class State:
    """Points of the chains, and the log densities there. Rows R = K B: all data points, chain after chain."""

    u: Tensor  # (R, D), unconstrained
    log_start: Tensor  # log q0(z), (R,)
    log_joint: Tensor  # log p(x, z), (R,)
    log_jacobian: Tensor  # log |dz/du|, (R,)

    @property
    def log_ratio(self) -> Tensor:
        """log p(x, z) - log q0(z), (R,)."""
        return self.log_joint - self.log_start

    def log_density(self, b: float | Tensor) -> Tensor:
        """Of u, on the geometric path at b or (R,), not normalized (R,)."""
        return (1 - b) * self.log_start + b * self.log_joint + self.log_jacobian

    def packed(self) -> Tensor:
        """All of it in one tensor (R, D + 3)."""
        return torch.cat(
            [self.u, torch.stack([self.log_start, self.log_joint, self.log_jacobian.expand_as(self.log_joint)], 1)], 1
        )

    @staticmethod
    def unpacked(packed: Tensor, dtype: torch.dtype) -> State:
        """The state of `packed`, u of its own dtype: densities may be of more bits than the networks."""
        return State(packed[:, :-3].to(dtype), *packed[:, -3:].unbind(1))


class Path:
    """The geometric path q0(z)^(1-b) p(x, z)^b for K copies of data x, in unconstrained coordinates u (R, D).

    Attributes:
        start: u (R, D), a draw of q0.
        measure, sites: of p(x), as `measure_of` and `counted_sites` tell.
    """

    def __init__(self, model: Callee, guide: Callee, x: Points, num_chains: int, start: Start) -> None:
        self.model, self.num_chains = model, num_chains
        self.rows = repeat_data(x, num_chains)  # (R, ...)
        self.guide = guide if start == "guide" else None
        self.fixed_guide: poutine.Trace | None = None
        if self.guide is None:
            model_trace, guide_trace = drawn_from_prior(model, self.rows), poutine.Trace()
        else:
            model_trace, guide_trace = traces(model, self.guide, self.rows)
            if len(list(sample_sites(guide_trace))) == 1 and not is_summed_out(
                guide_trace
            ):  # then its distribution depends on x alone: encode x once
                self.fixed_guide = guide_trace
        score_traces(model_trace, guide_trace, shape=(len(self.rows),))  # for its errors, while validation is on
        self.measure, self.sites = measure_of(model_trace), counted_sites(model_trace, len(self.rows))
        latents = unconstrained(model_trace)
        self.shapes = {name: u.shape[1:] for name, u in latents.items()}
        self.start = flat(latents)

    def continued(self, x: Points, num_chains: int) -> Path:
        """The same path for other data of the same shape and another number of chains, without a draw of q0."""
        path = copy.copy(self)
        path.num_chains, path.rows = num_chains, repeat_data(x, num_chains)
        if self.guide is not None and self.fixed_guide is not None:
            path.fixed_guide = poutine.trace(self.guide).get_trace(path.rows)
        return path

    def placed(self, u: Tensor) -> tuple[poutine.Trace, Tensor]:
        """The model's trace with its latents at u (R, D), and log |dz/du|."""
        parts = u.split([shape.numel() for shape in self.shapes.values()], 1)
        named = zip(self.shapes.items(), parts, strict=True)
        given = {name: part.reshape(len(u), *shape) for (name, shape), part in named}
        placing = Placing(given)
        with placing, in_a_sentence():
            return poutine.trace(self.model).get_trace(self.rows), placing.log_jacobian

    def at(self, u: Tensor) -> State:
        """The log densities at u (R, D)."""
        model_trace, log_jacobian = self.placed(u)
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
        return State(u, terms.log_prior if self.guide is None else terms.log_guide, log_joint, log_jacobian)

    def check_parts(self, parts: list[Tensor]) -> None:
        """Raise a ValueError unless data points, given by their numbers, have the same densities without the others."""
        starts = self.start.view(self.num_chains, -1, self.start.shape[1])
        points = self.rows[: starts.shape[1]]
        with unvalidated():
            together = self.at(self.start)
            if not torch.allclose(together.log_joint, self.at(self.start).log_joint, 1e-4, 1e-3, equal_nan=True):
                raise ValueError(
                    "Expected a model with one density at given latents; got another when it was asked again: it draws "
                    "random numbers that are no sites. Use nn.Dropout, which is off in evaluation, or give "
                    "functional.dropout training=self.training; make noise that belongs to the model a latent, or use "
                    "log_marginal, which averages over it."
                )
            for part in parts:
                alone = self.continued(points[part], self.num_chains).at(starts[:, part].flatten(0, 1))
                for name in ("log_start", "log_joint"):
                    inside = getattr(together, name).view(self.num_chains, -1)[:, part]
                    outside = getattr(alone, name).view(self.num_chains, -1)
                    if not torch.allclose(inside, outside, rtol=1e-4, atol=1e-3, equal_nan=True):
                        raise ValueError(
                            "Expected a pair that scores each data point by itself; got other densities without those "
                            "beside it. Remove what looks at the batch, such as its mean, or give chunk_size=1."
                        )

    def move(self, state: State, b: float | Tensor, step: Tensor, num_leapfrog: int) -> tuple[State, Tensor]:
        """One Hamiltonian transition with step sizes (B,) at b, one number or (B,): the next state, and mean acceptance
        probabilities (B,)."""
        return transition(self.at, state, b, step[:, None], num_leapfrog, self.num_chains)


def transition(
    at: Callable[[Tensor], State], state: State, b: float | Tensor, step: Tensor, num_leapfrog: int, num_chains: int
) -> tuple[State, Tensor]:
    """One Hamiltonian transition at b, one number or (B,).

    Args:
        at: the log densities at u (R, D), rows of all data points, chain after chain.
        state: where the chains are.
        step: step sizes, (B, 1), or (B, D) in each coordinate.

    Returns:
        The next state, and mean acceptance probabilities (B,).
    """
    b = b.repeat(num_chains) if isinstance(b, Tensor) else b
    jitter = 1 + JITTER * (2 * torch.rand_like(state.log_joint) - 1)
    step = (step.repeat(num_chains, 1) * jitter[:, None]).to(state.u.dtype)
    first = momentum = torch.randn_like(state.u)  # (R, D)
    u = state.u + step / 2 * momentum
    finite = torch.ones_like(state.log_joint, dtype=torch.bool)
    for left in reversed(range(num_leapfrog)):
        momentum = momentum + step * gradient(at, u, b)
        u = u + (step if left else step / 2) * momentum
        finite = finite & u.isfinite().all(1)
        u = torch.where(finite[:, None], u, state.u)  # a row that has left the numbers stays behind
    proposal = at(u)
    change = proposal.log_density(b) - state.log_density(b) + (first.square() - momentum.square()).sum(1) / 2
    # A comparison with nan is false: rejected, as is +inf, a density that is no number to stand on.
    valid = finite & proposal.log_density(b).isfinite() & ~change.isnan()
    acceptance = torch.where(valid, change.clamp(max=0).exp(), 0.0)
    accepted = torch.rand_like(acceptance) < acceptance
    merged = (
        torch.where(accepted if new.dim() == 1 else accepted[:, None], new, old)
        for new, old in zip(vars(proposal).values(), vars(state).values(), strict=True)
    )
    return State(*merged), acceptance.view(num_chains, -1).mean(0)


def gradient(at: Callable[[Tensor], State], u: Tensor, b: float | Tensor) -> Tensor:
    """Of the log density in u (R, D)."""
    with torch.enable_grad():
        u = u.detach().requires_grad_()
        (slope,) = torch.autograd.grad(at(u).log_density(b).sum(), u)
    return slope


def flat(latents: dict[str, Tensor]) -> Tensor:
    """All sites side by side, u (R, D)."""
    return torch.cat([u.reshape(len(u), -1) for u in latents.values()], 1)
