"""What a model/guide pair does with its latents: rate and distortion, mutual information, active units."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from ..arguments.at_least import at_least
from ..evidence import Measured
from ..evidence.drawing import check_by_itself, handful
from ..evidence.measured import measured_draws
from ..output.frames import frame, html
from ..pairs.amortized import check_amortized, check_no_autoguide
from ..pairs.batch import taking
from ..pairs.checks import check_data, check_latents
from ..pairs.contexts import evaluating, seeded
from ..pairs.densities import check_own_density
from ..pairs.enumerated import summed_out
from ..pairs.inputs import Inputs, as_points
from ..pairs.modules import Callee
from ..pairs.scoring import score_traces, traces
from ..pairs.sites import latents_of
from .aggregate_posterior import Bounds, aggregate, factorizes
from .latent_statistics import LatentStatistics

ACTIVE = 0.01  # both conventions: variance of the posterior mean, and nats


@dataclass(frozen=True)
class Diagnostics:
    """Result of `diagnose`; nats per data point. Tensors are (D,), float64, on the CPU, D all latent dimensions in a
    row.

    Attributes:
        elbo: -(rate + distortion).
        rate: E[log q(z|x) - log p(z)], KL of the guide to the prior.
        distortion: -E[log p(x|z)].
        mutual_information: lower bound of I(x;z) under q, at most log(num_pool).
        mutual_information_upper: upper bound of I(x;z), from the same draws: the smaller of an estimate and the rate.
        marginal_kl: KL of the aggregate posterior to the prior; rate of the pool - mutual_information, an upper bound.
        dimensions: names of the latent dimensions, "z[0]", ....
        information: nats in each dimension, by the convention that `convention` names; None where none holds.
        information_error: standard error of it, over data points.
        convention: what `information` is.
        variance: variance over data points of E[z_d|x] under the guide, corrected for noise where the mean is sampled.
        variance_error: standard error of it, over data points.
        num_data_points, num_samples: data points, and samples for each.
        num_pool: data points of the pool that stands for the aggregate posterior; 0 without it.
    """

    elbo: Measured
    rate: Measured
    distortion: Measured
    mutual_information: Measured | None
    mutual_information_upper: Measured | None
    marginal_kl: Measured | None
    dimensions: tuple[str, ...]
    information: Tensor | None
    information_error: Tensor | None
    convention: str
    variance: Tensor
    variance_error: Tensor
    num_data_points: int
    num_samples: int
    num_pool: int

    @property
    def active_by_variance(self) -> Tensor:
        """(D,) bool: variance over x of E[z_d|x] above 0.01 (Burda and others 2016)."""
        return self.variance > ACTIVE

    @property
    def active_by_information(self) -> Tensor | None:
        """(D,) bool: mean nats of the dimension, by the `convention`, above 0.01."""
        return None if self.information is None else self.information > ACTIVE

    @property
    def saturated(self) -> bool:
        """Whether the lower bound of I(x;z) is within log 2 of its largest value log(num_pool): it only says "large".

        There z tells its own data point from the others of the pool more often than not. A larger pool helps.
        """
        return self.mutual_information is not None and self.mutual_information.value > math.log(self.num_pool / 2)

    def to_json(self) -> dict[str, Any]:
        """Numbers, lists and strings alone."""
        content = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in asdict(self).items()}
        active = self.active_by_information
        return content | {
            "active_units_by_variance": int(self.active_by_variance.sum()),
            "active_units_by_information": None if active is None else int(active.sum()),
            "mutual_information_saturated": self.saturated,
        }

    def to_frame(self) -> Any:
        """A `pandas.DataFrame` with a row for each latent dimension: its nats and its variance, with errors.

        Raises:
            ImportError: pandas is not installed.
        """
        columns: dict[str, Any] = {"variance": self.variance, "variance_error": self.variance_error}
        columns["active_by_variance"] = self.active_by_variance
        if self.information is not None and self.information_error is not None:
            columns |= {"information": self.information, "information_error": self.information_error}
        arrays = {name: column.numpy() for name, column in columns.items()}
        return frame(arrays, index=self.dimensions, index_name="dimension")

    def _repr_html_(self) -> str:
        return html("rate and distortion, nats per data point", self._rows())

    def __repr__(self) -> str:
        return "\n".join(f"{name:<18}{text}" for name, text in self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        rows = [("ELBO", str(self.elbo)), ("rate", str(self.rate)), ("distortion", str(self.distortion))]
        if self.mutual_information is not None:
            most = f"log {self.num_pool:,} = {math.log(self.num_pool):.2f}"
            full = f"; the pool is too small to tell more than {most}" if self.saturated else ""
            untold = "; the pool is too small to tell how far below" if self.saturated else ""
            rows += [
                ("I(x;z), at least", f"{self.mutual_information}{full}"),
                ("I(x;z), at most", str(self.mutual_information_upper)),
                ("KL(q(z)||p(z))", f"{self.marginal_kl}, at most{untold}"),
            ]
        rows += [("active units", _counted(self.variance, self.variance_error, "variance of E[z|x] > 0.01"))]
        if self.information is not None and self.information_error is not None:
            rows += [("", _counted(self.information, self.information_error, f"{self.convention} > 0.01 nats"))]
        else:
            rows += [("", self.convention)]
        pool = f", pool of {self.num_pool:,}" if self.num_pool else ""
        rows += [("from", f"{self.num_data_points:,} data points, {self.num_samples:,} samples each{pool}")]
        return rows


def _counted(values: Tensor, errors: Tensor, rule: str) -> str:
    unsure = int(((values - ACTIVE).abs() < 2 * errors).sum())
    doubt = f" ({unsure} within two standard errors of the limit)" if unsure else ""
    return f"{int((values > ACTIVE).sum())} of {len(values)} by {rule}{doubt}"


def diagnose(
    model: Callee,
    guide: Callee,
    x: Inputs,
    *,
    num_samples: int = 16,
    num_pool: int = 1000,
    batch_size: int = 256,
    seed: int | None = 0,
) -> Diagnostics:
    """Measure what a model/guide pair does with its latents.

    ELBO = -(distortion + rate),  rate = I(x;z) + KL(q(z) || p(z)),  q(z) = mean over x of q(z|x)

    q(z) is taken as the mean of q(z|x_m) over all data points of a pool, the one z was drawn for among them. That
    I(x;z) is exact for the pool and, for the population, too low on average and never above log(num_pool) (see
    ``saturated``); the marginal KL is too high by as much. Without its own data point the same mean gives an upper
    bound of I(x;z); the rate is another, and the smaller one is given.

    Nats in one dimension are the mean of KL(q(z_d|x) || p(z_d)) where guide and prior both factorize, in closed form
    where there is one, and sum to the rate. With several sites, conditional on each other, they are the mean of log q -
    log p, with the same sum. With a prior that does not factorize they are I(x;z_d), the lower bound of the
    pool. With a guide that does not, there are none.

    Runs in evaluation mode and without gradients; KL weights do not enter.

    Args:
        model: p(x, z), called with data (B, ...).
        guide: q(z|x), called with the same data.
        x: data (N, ...), tensors on the device of the pair, or arrays: see `pyro_vae.pairs.inputs.as_points`.
        num_samples: draws of z for each data point, at least 2, for the errors.
        num_pool: data points of the pool, a random subset of x; costs num_pool^2 num_samples densities. 0 leaves the
            split of the rate out.
        batch_size: data points at a time.
        seed: of draws and pool, on a random stream of their own; None draws from the global stream.

    Raises:
        ValueError: num_samples below 2, x of another kind or with fewer than 2 data points, a pair that does not fit
            together or that scores a data point by those beside it, or a guide that cannot score another data point's z
            (point mass, auxiliary sites, flow without inverse) while num_pool is not 0.

    Reference:
        Hoffman, Johnson 2016, "ELBO surgery"; Poole and others 2019, "On variational bounds of mutual information"
        (both bounds); Burda, Grosse, Salakhutdinov 2016, "Importance weighted autoencoders" (active units).

    Example:
        >>> from pyro_vae import MLP, Bernoulli, GaussianEncoder, StandardNormal, VAE
        >>> px = Bernoulli((1, 8, 8))
        >>> vae = VAE(StandardNormal(5), GaussianEncoder((1, 8, 8), 5), MLP(5, px.feature_shape), px)
        >>> result = diagnose(vae.model, vae.guide, torch.rand(20, 1, 8, 8).round())
        >>> len(result.dimensions), result.convention
        (5, 'KL(q(z_d|x) || p(z_d))')
    """
    at_least(2, num_samples=num_samples, number_of_data_points=len(points := as_points("x", x, model, guide)))
    model, guide = taking(points, model, guide)
    at_least(1, batch_size=batch_size)
    at_least(2, num_pool=num_pool or None)  # or 0, without one
    with seeded(seed), evaluating(model, guide):
        check_no_autoguide(model, guide)
        model, guide = summed_out(model, guide, points[handful(points)])
        pool = points[torch.randperm(len(points))[:num_pool].to(points.device)]
        few = traces(model, guide, points[handful(points)])
        if not latents_of(few[0]):
            raise ValueError(
                "Expected latents that the guide draws, to diagnose; got none. Leave the marks for enumeration out to "
                "diagnose discrete ones."
            )
        score_traces(*few, shape=(len(handful(points)),))  # for its errors; another plate may have the size of a batch
        check_latents(*few)
        check_amortized(model, guide, points[handful(points)])
        check_data(model, guide, [points])
        check_by_itself(model, guide, points, batch_size)
        if num_pool:
            check_own_density(guide, pool[:2], "Give num_pool=0 for all the rest, without mutual information.")
        batches = [LatentStatistics.of(model, guide, batch, num_samples) for batch in points.split(batch_size)]
        by_dimension = [b.information for b in batches if b.information is not None]
        several = len(latents_of(poutine.trace(guide).get_trace(points[:2]))) > 1
        convention = "mean of log q - log p by dimension" if several else "KL(q(z_d|x) || p(z_d))"
        draws = torch.cat(by_dimension) if by_dimension else None
        each = draws is None and factorizes(guide, points[:2])
        bounds = aggregate(model, guide, pool, num_samples, batch_size, each=each) if num_pool else None
        if draws is None and bounds is not None and bounds.information is not None:
            convention, draws = "I(x;z_d), at least", bounds.information
        elif draws is None:
            why = "the prior does not factorize; give num_pool" if each else "guide and prior do not factorize"
            convention = f"no nats by dimension: {why}"
    moved = torch.cat([b.mean for b in batches])
    moved = (moved - moved.mean(0)).square() * len(points) / (len(points) - 1) - torch.cat([b.noise for b in batches])
    rate, distortion = (torch.cat([getattr(b, name) for b in batches], 1) for name in ("rate", "distortion"))
    return Diagnostics(
        elbo=measured_draws(-rate - distortion),
        rate=measured_draws(rate),
        distortion=measured_draws(distortion),
        mutual_information=None if bounds is None else measured_draws(bounds.lower),
        mutual_information_upper=None if bounds is None else _upper(bounds, rate),
        marginal_kl=None if bounds is None else measured_draws(bounds.rate - bounds.lower),
        dimensions=batches[0].dimensions,
        information=None if draws is None else draws.mean(0).cpu(),
        information_error=None if draws is None else _error(draws),
        convention=convention,
        variance=moved.mean(0).cpu(),
        variance_error=_error(moved),
        num_data_points=len(points),
        num_samples=num_samples,
        num_pool=len(pool),
    )


def _upper(bounds: Bounds, rate: Tensor) -> Measured:
    """The smallest of the upper bounds of I(x;z): the rate is one, too, for it is I(x;z) + KL(q(z) || p(z)), of the
    pool as of all data points."""
    return min(map(measured_draws, (bounds.upper, bounds.rate, rate)), key=lambda bound: bound.value)


def _error(by_point: Tensor) -> Tensor:
    return (by_point.std(0) / math.sqrt(len(by_point))).cpu()
