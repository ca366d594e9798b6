"""How unlike its training data a model finds data points: scores from log p(x), the ELBO, and other models."""

from __future__ import annotations

import csv
import io
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..arguments.at_least import at_least
from ..evidence import HeavyTail, LogMarginal, Measured, log_marginal
from ..evidence.drawing import check_by_itself, handful
from ..evidence.words import data_points
from ..output.frames import frame, html
from ..output.progress import progress_bar
from ..pairs.batch import Points, taking
from ..pairs.contexts import evaluating, seeded
from ..pairs.enumerated import summed_out
from ..pairs.inputs import Inputs, as_points
from ..pairs.modules import Callee
from ..pairs.particles import repeat_data
from ..pairs.scoring import score as scored

Pair = tuple[Callee, Callee]
ROWS = 4096  # (data point, draw) pairs at once
APART = 2**56  # from the seed of one model's estimate to the next


@dataclass(frozen=True)
class AnomalyScores:
    """Result of `score`: nats, and higher the less a data point is like the training data. Tensors are (N,), float64,
    on the CPU.

    Attributes:
        scores: by name, in the order in which `score` describes them.
        errors: Monte Carlo standard error of each, by the same names.
        log_marginal: log p(x) under the model, with all that tells whether to trust it.
        reference: mean of log p(x) over the reference data; None without.
        num_models: whose spread is in ``negative_waic``.
        num_draws: of the guide for each data point, in ``negative_elbo``, ``distortion`` and ``rate``.
        unreliable: whether log p(x), under one of the models, is not to be trusted; bool.
    """

    scores: Mapping[str, Tensor]
    errors: Mapping[str, Tensor]
    log_marginal: LogMarginal = field(repr=False)
    reference: Measured | None
    num_models: int
    num_draws: int
    unreliable: Tensor = field(repr=False)

    def __len__(self) -> int:
        return len(self.log_marginal)

    def columns(self) -> dict[str, Tensor]:
        """Scores, each followed by its error, and whether log p(x) is not to be trusted; (N,) each."""
        found: dict[str, Tensor] = {}
        for name, values in self.scores.items():
            found |= {name: values, f"{name}_error": self.errors[name]}
        return found | {"unreliable": self.unreliable}

    def to_csv(self, others: Mapping[str, Sequence[Any]] | None = None) -> str:
        """A line for each data point: other columns first, such as its number, then `columns`."""
        table = io.StringIO()
        writer = csv.writer(table, lineterminator="\n")
        columns = {**(others or {}), **{name: values.tolist() for name, values in self.columns().items()}}
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
        return table.getvalue()

    def to_frame(self) -> Any:
        """A `pandas.DataFrame` with a row for each data point.

        Raises:
            ImportError: pandas is not installed.
        """
        columns: dict[str, Any] = {name: values.numpy() for name, values in self.columns().items()}
        return frame(columns, index=range(len(self)), index_name="data point")

    def _repr_html_(self) -> str:
        return html("anomaly scores, nats", self._rows())

    def __repr__(self) -> str:
        return "\n".join(f"{name:<26}{text}" for name, text in self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        rows = []
        for name, values in self.scores.items():
            low, middle, high = values.quantile(torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)).tolist()
            error = self.errors[name].median().item()
            rows.append((name, f"from {low:.2f} to {high:.2f}, median {middle:.2f}; error {error:.3f} (median)"))
        doubtful = f"log p(x) not to be trusted for {int(self.unreliable.sum()):,}"
        return [*rows, ("from", f"{data_points(len(self))}; {doubtful}")]


def score(
    model: Callee,
    guide: Callee,
    x: Inputs,
    *,
    reference: Inputs | None = None,
    background: Pair | None = None,
    others: Sequence[Pair] = (),
    num_samples: int = 1000,
    num_draws: int = 16,
    seed: int = 0,
    progress: bool = True,
) -> AnomalyScores:
    """Score each data point by how unlike the training data it is: higher is less like them.

    =====================  ====================================================================================
    negative_log_prob      -log p(x), by `log_marginal`
    negative_elbo          -ELBO = distortion + rate
    distortion             -E_q[log p(x|z)], the reconstruction error in nats
    rate                   KL(q(z|x) || p(z))
    typicality             \\|log p(x) - mean of log p over the reference data\\|, with ``reference``
    likelihood_ratio       log p_background(x) - log p(x), with ``background``
    negative_waic          Var_m[log p_m(x)] - E_m[log p_m(x)] over this model and the ``others``, with these
    =====================  ====================================================================================

    -log p(x) alone can be lower for other data than for those of training: smooth or dark images are likely under many
    models. The ratio to a model of what all such images have in common, the distance from the usual log p(x), and the
    disagreement of models help where that is so; which of them does depends on the data: measure it (`detect`).

    The variance over models is that of their log p(x), less what Monte Carlo errors add to it.

    Args:
        model, guide: the pair.
        x: data (N, ...), tensors on the device of the pair, or arrays: see `pyro_vae.pairs.inputs.as_points`.
        reference: held-out data like those of training, for the typicality.
        background: a pair (model, guide) for the same x, trained on data without what makes those of training special:
            on perturbed copies of them, or on a wider collection.
        others: pairs trained as this one, from other seeds.
        num_samples: of log p(x), for each data point and model.
        num_draws: of the guide for each data point, at least 2, for the ELBO and its parts.
        seed: of the draws.
        progress: show progress bars, of what takes longer than two seconds.

    Warns:
        HeavyTail: data points whose log p(x) is not to be trusted, as those far from all training data often have it.

    Raises:
        ValueError: counts too small, models that score other sites or densities against probabilities, or what
            `log_marginal` refuses.

    Reference:
        Nalisnick, Matsukawa, Teh, Gorur, Lakshminarayanan 2019, "Do deep generative models know what they don't know?";
        An, Cho 2015, "Variational autoencoder based anomaly detection using reconstruction probability"; Nalisnick,
        Matsukawa, Teh, Lakshminarayanan 2019, "Detecting out-of-distribution inputs to deep generative models using
        typicality"; Ren and others 2019, "Likelihood ratios for out-of-distribution detection"; Choi, Jang, Alemi 2018,
        "WAIC, but why? Generative ensembles for robust anomaly detection".

    Example:
        >>> import pyro, pyro.distributions as dist
        >>> def model(x):  # log p(x) = log N(x; 0, 2)
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)
        >>> def guide(x):
        ...     with pyro.plate("data", len(x), dim=-1):
        ...         pyro.sample("z", dist.Normal(x / 2, 0.5**0.5))
        >>> score(model, guide, torch.tensor([0.0, 4.0])).scores["negative_log_prob"]
        tensor([1.2655, 5.2655], dtype=torch.float64)
    """
    at_least(2, num_draws=num_draws)
    at_least(1, num_samples=num_samples)
    points = as_points("x", x, model, guide)
    known = None if reference is None else as_points("reference", reference, model, guide)

    def log_prob(pair: Pair, data: Points, number: int = 0, *, of: str = "") -> LogMarginal:
        apart = (seed + number * APART) % 2**63  # the errors of different models are independent
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", HeavyTail)  # said once, of all models
            return log_marginal(*pair, data, num_samples=num_samples, seed=apart, progress=progress and f"log p(x){of}")

    own = log_prob((model, guide), points)
    values, errors = {"negative_log_prob": -own.log_prob}, {"negative_log_prob": own.standard_error}
    for name, draws in _elbo_draws(model, guide, points, num_draws, seed, progress).items():
        values[name] = draws.mean(0)
        errors[name] = draws.std(0) / math.sqrt(num_draws)
    usual = None
    if known is not None:
        usual = log_prob((model, guide), known, of=" of the reference").mean
        spread = 0.0 if math.isnan(usual.standard_error) else usual.standard_error
        values["typicality"] = (own.log_prob - usual.value).abs()
        errors["typicality"] = torch.hypot(own.standard_error, torch.full_like(own.log_prob, spread))
    models = [own]
    if background is not None:
        models.append(_alike(own, log_prob(background, points, 1, of=", background"), "background"))
        values["likelihood_ratio"] = models[1].log_prob - own.log_prob
        errors["likelihood_ratio"] = torch.hypot(models[1].standard_error, own.standard_error)
    if others:
        seeds = [
            _alike(own, log_prob(pair, points, 2 + i, of=f", others[{i}]"), f"others[{i}]")
            for i, pair in enumerate(others)
        ]
        values["negative_waic"], errors["negative_waic"] = _negative_waic([own, *seeds])
        models += seeds
    unreliable = torch.stack([each.unreliable for each in models]).any(0)
    if count := int(unreliable.sum()):
        warnings.warn(
            f"{own.quantity} is not to be trusted for {count:,} of {data_points(len(own))}"
            f"{', under one of the models' if len(models) > 1 else ''}: it is likely too low. The attribute unreliable "
            f"says for which. Draw more samples.",
            HeavyTail,
            stacklevel=2,
        )
    return AnomalyScores(values, errors, own, usual, 1 + len(others), num_draws, unreliable)


def _elbo_draws(
    model: Callee, guide: Callee, points: Points, num_draws: int, seed: int, progress: bool
) -> dict[str, Tensor]:
    """Draws (K, N) of the ELBO, negative, and of its two parts."""
    model, guide = taking(points, model, guide)
    batches = []
    together = max(1, ROWS // num_draws)
    with (
        seeded(seed),
        evaluating(model, guide),
        progress_bar(len(points), unit="data point", shown=progress, description="ELBO") as bar,
    ):
        model, guide = summed_out(model, guide, points[handful(points)])
        check_by_itself(model, guide, points, together)
        for batch in points.split(together):
            found = scored(model, guide, repeat_data(batch, num_draws))
            parts = [part.double().view(num_draws, -1).cpu() for part in (found.distortion, found.rate)]
            batches.append(torch.stack([parts[0] + parts[1], *parts]))
            bar.update(len(batch))
    return dict(zip(("negative_elbo", "distortion", "rate"), torch.cat(batches, 2), strict=True))


def _alike(own: LogMarginal, other: LogMarginal, name: str) -> LogMarginal:
    """The other estimate, if it can be compared with this model's."""
    if own.measure != other.measure or own.sites != other.sites:
        raise ValueError(
            f"Expected {name} to be a model of the same kind of data, a {own.measure or 'density'} of "
            f"{dict(own.sites)}; got a {other.measure or 'density'} of {dict(other.sites)}. Train it with the same "
            f"likelihood."
        )
    return other


def _negative_waic(models: Sequence[LogMarginal]) -> tuple[Tensor, Tensor]:
    """Variance over models, less the Monte Carlo part of it, minus the mean; and its error by the delta method."""
    log_prob = torch.stack([each.log_prob for each in models])  # (M, N)
    noise = torch.stack([each.standard_error for each in models])
    deviation = log_prob - log_prob.mean(0)
    slope = 2 * deviation / (len(models) - 1) - 1 / len(models)
    return log_prob.var(0) - noise.square().mean(0) - log_prob.mean(0), (slope * noise).square().sum(0).sqrt()
