"""log p(x) of simulated data between bounds from both sides, and how far the default estimate lies from the upper."""

from __future__ import annotations

import dataclasses
import math
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..arguments.at_least import at_least
from ..disk.json_files import null_for_nan
from ..pairs.batch import Points, taking
from ..pairs.contexts import evaluating, seeded, unvalidated
from ..pairs.enumerated import summed_out
from ..pairs.inputs import Inputs, as_points
from ..pairs.modules import Callee
from .annealing_path import Path
from .bidirectional import bidirectional
from .counter_random import data_keys
from .doubts import HeavyTail
from .drawing import handful
from .importance import log_marginal
from .measured import Measured, measured
from .result import LogMarginal
from .simulation import simulate_by_key

NAMES = {
    "elbo": "ELBO",
    "lower": "default estimate",
    "forward": "annealed, forward",
    "reverse": "annealed, reverse",
    "eubo": "EUBO",
}
FROM_ABOVE = ("reverse", "eubo")


@dataclass(frozen=True)
class Bracket:
    """Result of `bracket`: bounds on log p(x) of the same simulated data, in nats. Tensors are (N,), float64, on the
    CPU.

    In expectation elbo <= lower <= log p(x) <= eubo, and forward <= log p(x) <= reverse.

    Attributes:
        elbo, elbo_error: E_q(z|x)[log p(x, z) - log q(z|x)], log p(x) less the KL of the guide to the posterior, and
            its Monte Carlo standard error.
        lower: the default estimate, `log_marginal`, of each data point.
        forward, reverse: annealed chains in both directions, `bidirectional`.
        eubo: log p(x, z) - log q(z|x) at the exact posterior draw z that the data were drawn with. Its mean is log p(x)
            plus the KL of the posterior to the guide; that of a single data point is noise.
    """

    elbo: Tensor
    elbo_error: Tensor
    lower: LogMarginal
    forward: LogMarginal
    reverse: LogMarginal
    eubo: Tensor

    @property
    def means(self) -> dict[str, Measured]:
        """The five means over the data points; their errors hold the spread of the data, common to them all."""
        return {
            "elbo": measured(self.elbo, self.elbo_error),
            "lower": self.lower.mean,
            "forward": self.forward.mean,
            "reverse": self.reverse.mean,
            "eubo": measured(self.eubo, torch.full_like(self.eubo, math.nan)),
        }

    @property
    def above_default(self) -> dict[str, Measured]:
        """Means of the other four less the default estimate, with the errors of such differences."""
        sides = {
            "elbo": (self.elbo, self.elbo_error),
            "forward": (self.forward.log_prob, self.forward.standard_error),
            "reverse": (self.reverse.log_prob, self.reverse.standard_error),
            "eubo": (self.eubo, torch.full_like(self.eubo, math.nan)),
        }
        own, its_error = self.lower.log_prob, self.lower.standard_error
        return {name: measured(values - own, torch.hypot(error, its_error)) for name, (values, error) in sides.items()}

    @property
    def worst_gap(self) -> Measured:
        """Mean of reverse - lower: in expectation a bound on how far the default estimate is too low on such data."""
        return self.above_default["reverse"]

    def __len__(self) -> int:
        return len(self.lower)

    def to_json(self) -> dict[str, Any]:
        """Numbers alone: means with their errors, over the simulated data."""
        means = {name: null_for_nan(dataclasses.asdict(mean)) for name, mean in self.means.items()}
        above = {name: null_for_nan(dataclasses.asdict(mean)) for name, mean in self.above_default.items()}
        unreliable = int(self.lower.unreliable.sum())
        return {**means, "above_default": above, "num_data_points": len(self), "unreliable": unreliable}

    def __repr__(self) -> str:
        above, rows = self.above_default, []
        for name, mean in self.means.items():
            side = ">=" if name in FROM_ABOVE else "<="
            row = f"{NAMES[name]:<18} log p(x) {side} {mean.value:.3f} +- {mean.standard_error:.3f}"
            if name in above:
                row += f",  {above[name].value:+.3f} +- {above[name].standard_error:.3f} from the default"
            rows.append(row)
        return "\n".join([*rows, f"{'from':<18} {len(self):,} data points simulated from the model; nats"])


def bracket(
    model: Callee,
    guide: Callee,
    like: Inputs,
    *,
    num_samples: int = 1000,
    num_chains: int = 16,
    num_temperatures: int = 100,
    num_draws: int = 64,
    chunk_size: int = 4096,
    compile: bool | Literal["auto"] = "auto",
    seed: int | None = 0,
    progress: bool = True,
) -> Bracket:
    """Bound log p(x) of data simulated from the model from both sides, beside the default estimate for these data.

    Upper bounds need an exact draw of the posterior, which only simulated data have: the z that they were drawn with.
    On real data log p(x) is bounded from below alone, and the gap found here carries over as far as they resemble the
    model's.

    Args:
        model: p(x, z), whose observed sites are its inputs as they are.
        guide: q(z|x).
        like: any data of the wanted number and shape (N, ...), on the device of the pair; observed values are not used.
        num_samples: of the default estimate.
        num_chains, num_temperatures: of the chains, as of `bidirectional`.
        num_draws: of the guide for each data point, for the ELBO.
        chunk_size: largest number of (data point, draw) pairs in memory at once.
        compile, seed, progress: as of `bidirectional`.

    Raises:
        ValueError: as `bidirectional`: discrete latents, or a model that cannot be simulated.

    Reference:
        Grosse, Ghahramani, Adams 2015, "Sandwiching the marginal likelihood using bidirectional Monte Carlo"; Ji, Shen
        2019, "Stochastic variational inference via upper bound" (EUBO).

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):  # z ~ N(0, 1), x ~ N(z, 1)
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)
        >>> def guide(x):  # wider than the posterior, N(x / 2, 1 / 2)
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("z", dist.Normal(x / 2, 1.0))
        >>> found = bracket(model, guide, torch.zeros(40), num_temperatures=10)
        >>> found.elbo.mean() < found.lower.mean.value < found.eubo.mean()
        tensor(True)
    """
    points = as_points("like", like, model, guide)
    model, guide = taking(points, model, guide)
    at_least(1, chunk_size=chunk_size)
    at_least(2, num_draws=num_draws)
    seed = int(torch.randint(2**62, ())) if seed is None else seed
    how: dict[str, Any] = {"chunk_size": chunk_size, "compile": compile, "progress": progress}
    annealed = bidirectional(
        model, guide, points, num_chains=num_chains, num_temperatures=num_temperatures, seed=seed, **how
    )
    with seeded(seed), evaluating(model, guide):
        keys = data_keys(torch.arange(len(points))[:, None], seed).to(points.device)
        summed, of_rest = summed_out(model, guide, points[handful(points)])
        x, u = simulate_by_key(summed, points, keys)  # the data of the chains, with the latents they were drawn from
        exact, draws = [], []
        for some in torch.arange(len(points), device=points.device).split(max(1, chunk_size // num_draws)):
            above, below = _log_ratios(summed, of_rest, x[some], u[some], num_draws)
            exact.append(above)
            draws.append(below)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HeavyTail)  # counted in the result
        lower = log_marginal(model, guide, x, num_samples=num_samples, seed=seed + 1, **how)
    elbos = torch.cat(draws, 1).double().cpu()
    errors = elbos.std(0) / math.sqrt(num_draws)
    return Bracket(elbos.mean(0), errors, lower, annealed.lower, annealed.upper, torch.cat(exact).double().cpu())


def _log_ratios(model: Callee, guide: Callee, x: Points, u: Tensor, num_draws: int) -> tuple[Tensor, Tensor]:
    """log p(x, z) - log q(z|x) at u (B,), and at draws of the guide (K, B)."""
    path = Path(model, guide, x, num_draws, "guide")
    below = path.at(path.start).log_ratio.view(num_draws, -1)
    with unvalidated():  # an exact draw can lie where the guide has no density: the bound is infinite then
        return Path(model, guide, x, 1, "guide").at(u).log_ratio, below
