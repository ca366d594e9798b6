"""How many nats about a data point a decoder needs to reconstruct it so well, from annealed chains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..disk.json_files import null_for_nan
from ..pairs.batch import taking
from ..pairs.contexts import evaluating, seeded
from ..pairs.enumerated import summed_out
from ..pairs.inputs import Inputs, as_points
from ..pairs.modules import Callee
from .annealed_chains import Chains
from .annealing_path import State
from .annealing_schedule import AnnealingSettings
from .bidirectional import bidirectional
from .counter_random import data_keys
from .drawing import handful
from .importance import selected
from .measured import Measured, measured


@dataclass(frozen=True)
class RateDistortion:
    """Result of `rate_distortion`, in nats. Tensors are (N, T), one column for each beta, float64, on the CPU.

    Attributes:
        betas: powers of the likelihood (T,), from 0 on.
        rate, rate_error: in expectation an upper bound on KL(q(z|x) || p(z)), q the distribution of a chain that is
            drawn by weight at that power; and Monte Carlo standard errors.
        distortion, distortion_error: E_q[-log p(x|z)], with the same.
        least_sum: for data simulated from the model, (N,), else None: in expectation a lower bound on -log p(x), so
            that rate + distortion of no code of the model's prior has a smaller mean.
    """

    betas: Tensor
    rate: Tensor
    rate_error: Tensor
    distortion: Tensor
    distortion_error: Tensor
    least_sum: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rate)

    @property
    def curve(self) -> list[tuple[float, Measured, Measured]]:
        """beta, mean rate and mean distortion over the data points, from beta 0 on. In expectation the point lies on
        or above the rate-distortion curve of prior and decoder, however few temperatures there are."""
        return [
            (
                beta,
                measured(self.rate[:, t], self.rate_error[:, t]),
                measured(self.distortion[:, t], self.distortion_error[:, t]),
            )
            for t, beta in enumerate(self.betas.tolist())
        ]

    @property
    def from_below(self) -> Measured | None:
        """For simulated data, the mean of least_sum: rate >= that - distortion, a line that touches the curve at beta 1
        where the chains are good."""
        return None if self.least_sum is None else measured(self.least_sum, torch.full_like(self.least_sum, math.nan))

    @property
    def gap(self) -> Measured | None:
        """For simulated data, how far the point nearest to beta 1 lies above that line; in expectation at least 0, and
        how far it can lie above the curve at most."""
        if self.least_sum is None:
            return None
        t = int((self.betas - 1).abs().argmin())
        gap = self.rate[:, t] + self.distortion[:, t] - self.least_sum
        return measured(gap, torch.full_like(gap, math.nan))  # both come from the same chains: their errors do not add

    def to_json(self) -> dict[str, Any]:
        """Numbers alone: the curve, and the bound from below where there is one."""
        curve = [
            {"beta": beta, "rate": null_for_nan(asdict(rate)), "distortion": null_for_nan(asdict(distortion))}
            for beta, rate, distortion in self.curve
        ]
        below = {"least_rate_plus_distortion": self.from_below, "gap_at_beta_1": self.gap}
        found = {name: None if mean is None else null_for_nan(asdict(mean)) for name, mean in below.items()}
        return {"num_data_points": len(self), "curve": curve, **found}

    def __repr__(self) -> str:
        rows = [f"{'beta':>8}{'rate':>12}{'distortion':>12}   nats per data point"]
        curve = self.curve
        shown = sorted({round(t * (len(curve) - 1) / 8) for t in range(9)})
        rows += [
            f"{beta:8.3g}{rate.value:12.3f}{distortion.value:12.3f}"
            for beta, rate, distortion in (curve[t] for t in shown)
        ]
        if self.from_below is not None and self.gap is not None:
            rows.append(
                f"from below: rate + distortion >= {self.from_below.value:.3f} for any code; at beta 1 the curve is "
                f"known to {self.gap.value:.3f} +- {self.gap.standard_error:.3f}"
            )
        kind = "simulated data points" if self.least_sum is not None else "data points, bounded from above alone"
        return "\n".join([*rows, f"from {len(self):,} {kind}"])


def rate_distortion(
    model: Callee,
    guide: Callee,
    x: Inputs,
    *,
    simulate: bool = False,
    largest_beta: float = 4.0,
    num_chains: int = 16,
    num_temperatures: int = 200,
    num_leapfrog: int = 5,
    num_warmup_chains: int = 4,
    target_acceptance: float = 0.9,
    chunk_size: int = 4096,
    compile: bool | Literal["auto"] = "auto",
    seed: int | None = 0,
    progress: bool = True,
    only: Sequence[int] | None = None,
) -> RateDistortion:
    """Trace the rate-distortion curve of a prior and decoder by annealed chains from the prior.

    R(D) = min over q(z|x) of KL(q(z|x) || p(z)) with E_q[-log p(x|z)] <= D, attained by q ~ p(z) p(x|z)^beta
    rate <= -E[log mean_k w_kt] - beta_t distortion,  w_kt the weight of chain k up to beta_t

    How well a decoder could compress data, whatever its guide: rate at most of codes for z under the prior, distortion
    what is left to say about x. At beta 1, rate + distortion = -log p(x). Distortion is in nats; with a Gaussian
    likelihood of scale s it is the squared error over 2 s^2, plus a constant.

    The code is one of the K chains, drawn by weight; its rate is bounded by that of all that has been drawn for it.
    Thus, in expectation, chains that mix badly and few chains give points above the curve, never below it. Bounds from
    below need an exact draw of the posterior, which only data simulated from the model have, and only at beta 1.

    Args:
        model: p(x, z).
        guide: not used; chains start from the prior.
        x: data (N, ...), on the device of the pair.
        simulate: take from x its number and shape alone, simulate data from the model, and bound the curve of these
            from below, too.
        largest_beta: where the path ends; above 1, distortion is smaller than that of the posterior.
        num_chains, num_temperatures, num_leapfrog, num_warmup_chains, target_acceptance, chunk_size, compile, seed,
            progress: as of `annealed_log_marginal`.
        only: numbers of the data points of x to use.

    Raises:
        ValueError: as `annealed_log_marginal`, and with simulate as `bidirectional`; largest_beta not above 0.

    Reference:
        Huang, Cao, Grosse 2020, "Evaluating lossy compression rates of deep generative models".

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):  # z ~ N(0, 1), x ~ N(z, 1)
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)
        >>> curve = rate_distortion(model, model, torch.randn(8), num_temperatures=20, num_leapfrog=2).curve
        >>> (_, first, worst), (_, last, best) = curve[0], curve[-1]
        >>> first.value == 0 and last.value > 0 and best.value < worst.value
        True
    """
    points = as_points("x", x, model, guide)
    model, guide = taking(points, model, guide)
    if not 0 < largest_beta < math.inf:
        raise ValueError(f"Expected largest_beta > 0, a finite number; got {largest_beta}.")
    shared: dict[str, Any] = {
        "num_chains": num_chains,
        "num_temperatures": num_temperatures,
        "start": "prior",
        "schedule": "sigmoid",
        "num_leapfrog": num_leapfrog,
        "num_warmup_chains": num_warmup_chains,
        "target_acceptance": target_acceptance,
    }
    settings = AnnealingSettings(**shared, end=largest_beta)
    seed = int(torch.randint(2**62, ())) if seed is None else seed
    wanted, least_sum = selected(len(points), only), None
    if simulate:
        options: dict[str, Any] = {
            "chunk_size": chunk_size,
            "compile": compile,
            "seed": seed,
            "progress": progress,
            "only": wanted,
        }
        both = bidirectional(model, guide, points, **shared, **options)
        points, least_sum, wanted = both.x.to(points.device), -both.upper.log_prob, list(range(len(both)))
    parts = []
    with seeded(seed), evaluating(model, guide), settings.bar(2 * len(wanted), progress=progress) as bar:
        keys, few, batches = data_keys(points, seed), handful(points), settings.batches(wanted, chunk_size)
        model, guide = summed_out(model, guide, points[few])
        chains = Chains(settings, model, guide, points[few], keys[few], batches, compile, bar.update)
        for some, padded in batches:
            parts.append([moment[: len(some)] for moment in _moments(chains, points[padded], keys[padded], settings)])
    rate, rate_error, distortion, distortion_error = (torch.cat(column) for column in zip(*parts, strict=True))
    return RateDistortion(settings.sigmoid()[:-1], rate, rate_error, distortion, distortion_error, least_sum)


def _moments(chains: Chains, x: Any, keys: Tensor, settings: AnnealingSettings) -> list[Tensor]:
    """Rate and its error, distortion and its error, of each data point at each temperature but the last (B, T)."""
    path = chains.begin(x, keys, settings.num_chains, 0)
    plan = chains.warm_up(x, keys)
    betas = settings.sigmoid()
    found: list[tuple[Tensor, ...]] = []

    def watch(state: State, log_weight: Tensor) -> None:
        distortion = -state.log_ratio.double().view(settings.num_chains, -1)  # log p(x, z) - log p(z), negated
        found.append(_at(betas[len(found)].item(), distortion, log_weight.view(settings.num_chains, -1)))

    chains.run(path, path.start, x, keys, plan, watch=watch)
    return [torch.stack(column, 1) for column in zip(*found, strict=True)]


def _at(beta: float, distortion: Tensor, log_weight: Tensor) -> tuple[Tensor, ...]:
    """Rate and distortion (B,), each with its error by the delta method (nan for one chain), of one of K chains that is
    drawn by weight; all of them (K, B)."""
    count = len(log_weight)
    weight = log_weight.softmax(0) * count
    mean = (weight * distortion).mean(0)
    rate = math.log(count) - log_weight.logsumexp(0) - beta * mean
    parts = weight * (distortion - mean)  # what each chain adds to the mean, to first order
    errors = (
        (part.square().sum(0) / (count * (count - 1))).sqrt() if count > 1 else mean * math.nan
        for part in (1 - weight - beta * parts, parts)
    )
    rate_error, error = errors
    return rate.cpu(), rate_error.cpu(), mean.cpu(), error.cpu()
