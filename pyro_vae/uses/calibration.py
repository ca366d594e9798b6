"""Whether a guide is as wide as the posterior, and where it is: ranks of simulated latents among its draws."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..arguments.at_least import at_least
from ..evidence.annealing_path import flat
from ..evidence.drawing import check_by_itself, handful
from ..evidence.latent_space import unconstrained
from ..evidence.simulation import simulate
from ..output.frames import frame, html
from ..pairs.batch import taking
from ..pairs.contexts import evaluating, seeded
from ..pairs.enumerated import summed_out
from ..pairs.inputs import Inputs, as_points
from ..pairs.modules import Callee
from ..pairs.particles import repeat_data
from ..pairs.scoring import traces

LEVEL = 0.01  # of all verdicts together, where the guide is the posterior
NUMBERS = ("shift", "shift_error", "width", "width_error")  # of each dimension


@dataclass(frozen=True)
class Calibration:
    """Result of `calibrate`. Tensors are (D,), float64, on the CPU, D all unconstrained latent dimensions in a row.

    The normal score of a rank r among K draws is Phi^-1((r + 1/2) / (K + 1)). Where guide and posterior are Gaussian,
    the scores are where the posterior lies, in standard deviations of the guide.

    Attributes:
        ranks: how many of the guide's draws lie below the simulated latent (N, D), int64, from 0 to num_draws; uniform
            where the guide is the posterior.
        dimensions: names of the latent dimensions, "z[0]", ....
        num_draws: K, draws of the guide for each simulated data point.
    """

    ranks: Tensor
    dimensions: tuple[str, ...]
    num_draws: int

    @property
    def scores(self) -> Tensor:
        """Normal scores of the ranks (N, D)."""
        return torch.special.ndtri((self.ranks.double() + 0.5) / (self.num_draws + 1))

    @property
    def shift(self) -> Tensor:
        """Mean normal score: where the posterior lies, in standard deviations of the guide; 0 where calibrated."""
        return self.scores.mean(0)

    @property
    def shift_error(self) -> Tensor:
        """Standard error of `shift`."""
        return self.scores.std(0) / math.sqrt(len(self.ranks))

    @property
    def width(self) -> Tensor:
        """Standard deviation of the normal scores, relative to that of uniform ranks: the posterior's width over the
        guide's; above 1 the guide is too narrow. With few draws it is nearer to 1 than the truth, for a latent outside
        all of them could lie anywhere."""
        return self.scores.std(0) / self._uniform_scores().square().mean().sqrt()

    @property
    def width_error(self) -> Tensor:
        """Standard error of `width`, by the delta method."""
        squares = (self.scores - self.shift).square()
        return self.width * squares.std(0) / squares.mean(0) / (2 * math.sqrt(len(self.ranks)))

    @property
    def verdicts(self) -> tuple[str, ...]:
        """Of each dimension: "fits", or "too low", "too high" (the guide, to be moved up or down), "too narrow", "too
        wide", or two of these; all of them are "fits" with a probability of 99% where the guide is the posterior."""
        count, uniform = len(self.ranks), self._uniform_scores()
        least = -torch.special.ndtri(torch.tensor(LEVEL / (4 * len(self.dimensions)), dtype=torch.float64)).item()
        variance, fourth = uniform.square().mean(), uniform.pow(4).mean()
        place = self.shift / (variance / count).sqrt()
        # Around zero: the noise of the mean would enter a variance, and a shift is not to pass for a width.
        spread = (self.scores - self.shift).square().mean(0) - variance
        spread = spread / ((fourth - variance.square()) / count).sqrt()
        found = []
        for at, by in zip(place.tolist(), spread.tolist(), strict=True):
            words = ["too low" if at > 0 else "too high"] if abs(at) > least else []
            words += ["too narrow" if by > 0 else "too wide"] if abs(by) > least else []
            found.append(" and ".join(words) or "fits")
        return tuple(found)

    def _uniform_scores(self) -> Tensor:
        """The normal scores of all possible ranks (K + 1,)."""
        return torch.special.ndtri((torch.arange(self.num_draws + 1).double() + 0.5) / (self.num_draws + 1))

    def to_json(self) -> dict[str, Any]:
        """Numbers, lists and strings alone."""
        return {
            "dimensions": list(self.dimensions),
            "verdicts": list(self.verdicts),
            **{name: getattr(self, name).tolist() for name in NUMBERS},
            "num_data_points": len(self.ranks),
            "num_draws": self.num_draws,
            "rank_counts": [ranks.bincount(minlength=self.num_draws + 1).tolist() for ranks in self.ranks.T],
        }

    def to_frame(self) -> Any:
        """A `pandas.DataFrame` with a row for each latent dimension: shift, width, with errors, and the verdict.

        Raises:
            ImportError: pandas is not installed.
        """
        columns: dict[str, Any] = {name: getattr(self, name).numpy() for name in NUMBERS}
        return frame(columns | {"verdict": list(self.verdicts)}, index=self.dimensions, index_name="dimension")

    def _repr_html_(self) -> str:
        return html("ranks of simulated latents among the guide's draws", self._rows())

    def __repr__(self) -> str:
        return "\n".join(f"{name:<18}{text}" for name, text in self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        kinds: dict[str, list[int]] = {}
        for place, verdict in enumerate(self.verdicts):
            kinds.setdefault(verdict, []).append(place)
        rows, shift, width = [], self.shift.tolist(), self.width.tolist()
        for verdict, places in sorted(kinds.items(), key=lambda kind: -len(kind[1])):
            worst = max(places, key=lambda d: abs(shift[d]) + abs(math.log(max(width[d], 1e-9))))
            text = (
                f"{len(places)} of {len(self.dimensions)} dimensions; the farthest, {self.dimensions[worst]}: "
                f"posterior at {shift[worst]:+.2f} standard deviations of the guide, {width[worst]:.2f} times as wide"
            )
            rows.append((verdict, text))
        of = f"{len(self.ranks):,} simulated data points, {self.num_draws:,} draws of the guide each"
        return [*rows, ("from", of)]


def calibrate(
    model: Callee, guide: Callee, like: Inputs, *, num_draws: int = 99, chunk_size: int = 4096, seed: int | None = 0
) -> Calibration:
    """Rank latents that the model draws, with data, among the guide's draws for these data (simulation-based
    calibration).

    z, x ~ p(z, x);  z_1, ..., z_K ~ q(z|x);  r_d = number of k with z_kd < z_d

    z is an exact draw of the posterior p(z|x). Were q that posterior, each r_d would be uniform on 0, ..., K. Ranks at
    both ends say that the guide is too narrow in this dimension, ranks in the middle that it is too wide, at one end
    that it is shifted. That is about data simulated from the model: on real data a guide can do better or worse. Ranks
    are those of single dimensions, averaged over data: what a guide misses in correlations alone, or does wrongly one
    way here and the other way there, is not seen. Latents on an interval or a simplex are ranked in unconstrained
    coordinates.

    Args:
        model: p(x, z), whose observed sites are its inputs as they are.
        guide: q(z|x); only drawn from.
        like: any data of the wanted number and shape (N, ...), on the device of the pair; observed values are not used.
        num_draws: K, draws of the guide for each data point.
        chunk_size: largest number of (data point, draw) pairs in memory at once.
        seed: of data and draws, on a random stream of their own; None draws from the global stream.

    Raises:
        ValueError: numbers below 1, fewer than 2 data points, a discrete latent, a model that cannot be simulated, or a
            pair that scores a data point by those beside it.

    Reference:
        Talts, Betancourt, Simpson, Vehtari, Gelman 2018, "Validating Bayesian inference algorithms with
        simulation-based calibration"; Cook, Gelman, Rubin 2006, "Validation of software for Bayesian models using
        posterior quantiles".

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):  # z ~ N(0, 1), x ~ N(z, 1)
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)
        >>> def guide(x):  # the posterior is N(x / 2, 1 / 2)
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("z", dist.Normal(x / 2, 0.5))
        >>> calibrate(model, guide, torch.zeros(1000)).verdicts
        ('too narrow',)
    """
    points = as_points("like", like, model, guide)
    model, guide = taking(points, model, guide)
    at_least(1, num_draws=num_draws, chunk_size=chunk_size)
    if len(points) < 2:
        raise ValueError(f"Expected at least 2 data points, for ranks to have a spread; got {len(points)}.")
    per_batch = max(1, chunk_size // num_draws)
    ranks: list[Tensor] = []
    names: tuple[str, ...] = ()
    with seeded(seed), evaluating(model, guide):
        model, guide = summed_out(model, guide, points[handful(points)])
        for batch in points.split(per_batch):
            x, u = simulate(model, batch)
            if not ranks:
                check_by_itself(model, guide, x, per_batch)
            below = torch.zeros_like(u, dtype=torch.int64)
            copies = max(1, chunk_size // len(x))
            for first in range(0, num_draws, copies):
                rows = repeat_data(x, min(copies, num_draws - first))
                latents = unconstrained(traces(model, guide, rows)[0])
                names = tuple(_names({name: value.shape[1:] for name, value in latents.items()}))
                below += (flat(latents).view(-1, *u.shape) < u).sum(0)
            ranks.append(below.cpu())
    return Calibration(torch.cat(ranks), names, num_draws)


def _names(shapes: dict[str, torch.Size]) -> list[str]:
    """Names of all dimensions of the sites in a row: "z[0]", "z[0, 1]", and just "z" for a single number."""
    return [
        f"{name}[{', '.join(map(str, place))}]" if place else name
        for name, shape in shapes.items()
        for place in itertools.product(*map(range, shape))
    ]
