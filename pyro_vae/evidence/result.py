"""What every estimator of log p(x) returns."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..output.frames import frame, html
from .limits import ANNEALED, FEWEST, HEAVY, STUCK
from .measured import Measured, measured
from .saved import load_arrays, of_prefix, require_arrays, save_arrays, with_prefix
from .words import line_of, quantity_of, rows_of, summarized

ARRAYS = ("log_prob", "standard_error", "ess", "khat", "num_samples")
OPTIONAL = ("digests", "indices")


@dataclass(frozen=True)
class LogMarginal:
    """Estimates of log p(x) in nats, one for each data point. Tensors are (N,), on the CPU, float64 where not counts.

    Attributes:
        log_prob: the estimate. Of a lower bound the mean lies below log p(x), by about half the squared standard error.
        standard_error: Monte Carlo standard error of log_prob, by the delta method from the weights themselves; nan
            with one sample. Trust it only where khat is small.
        ess: effective sample size of the weights, from 1 (one sample dominates) to num_samples (exact posterior).
        khat: shape of the Pareto distribution fitted to the largest weights. Above 0.7 the error is not to be trusted
            and the estimate is likely too low; above 1 the weights have no mean that such a sample could find. nan with
            fewer than 25 samples, and where the largest weights repeat, as they do with few discrete states; 1 where
            they repeat and the effective sample size is below 25.
        num_samples: samples (weights) drawn for each data point.
        bound: "lower" or "upper", the side of log p(x) on which the mean of log_prob lies; "none" where it is a
            difference of two bounds.
        log_levels: bounds from the same weights with fewer samples: by K = 1, 10, 100, ... up to the number drawn, the
            mean of log mean of K weights at a time (N,), the K-sample importance-weighted bound; nan for data points
            with fewer samples. Empty if not kept.
        shared_error: standard error of an error that all data points share, such as that of the estimated normalizer of
            a prior, in nats.
        details: further arrays of each data point, by name, such as an annealed estimate's acceptance.
        digests: of the content of each data point, int64; None where it was not recorded.
        indices: number of each data point in the tensor or split that it was taken from; None where it was not
            recorded.
        measure: "probability" of discrete data, "density" of continuous data, or "mixed" where some observed sites are
            discrete; "" where it was not recorded.
        estimator: what made the estimate, in words; "" where it was not recorded.
        sites: the observed sites whose log-density this is, with the number of their values in each data point; empty
            where they were not recorded.
        given: the observed sites that it is conditional on, likewise: log p(sites | given).
        inputs: arguments of the model that no site observes, such as labels, on which it is conditional, too.
    """

    log_prob: Tensor
    standard_error: Tensor
    ess: Tensor
    khat: Tensor
    num_samples: Tensor
    bound: Literal["lower", "upper", "none"] = "lower"
    log_levels: Mapping[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    shared_error: float = 0.0
    details: Mapping[str, Tensor] = field(default_factory=dict)
    digests: Tensor | None = None
    indices: Tensor | None = None
    measure: str = ""
    estimator: str = ""
    sites: Mapping[str, int] = field(default_factory=dict)
    given: Mapping[str, int] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.log_prob)

    @property
    def mean(self) -> Measured:
        """Mean of log p(x) over the data points, with its errors, in nats per data point."""
        return measured(self.log_prob, self.standard_error, shared_error=self.shared_error)

    @property
    def unreliable(self) -> Tensor:
        """Whether a number is not to be trusted: k-hat above 0.7, chains that hardly moved, or not finite; (N,),
        bool."""
        stuck = self.details.get("acceptance", torch.ones_like(self.log_prob)) < STUCK
        return (self.khat > HEAVY) | stuck | ~self.log_prob.isfinite()

    @property
    def undecided(self) -> Tensor:
        """Whether samples were too few to tell if a number is to be trusted: there is no k-hat below 25; (N,), bool."""
        return (self.num_samples < FEWEST) & self.khat.isnan() & ~self.unreliable

    @property
    def from_chains(self) -> Tensor:
        """Whether annealed chains gave a number of the default estimate, (N,), bool: then num_samples counts those."""
        return self.details.get("rung", torch.zeros_like(self.num_samples)) == ANNEALED

    @property
    def khat_limit(self) -> Tensor:
        """The limit of k-hat for as many samples, min(1 - 1 / log10 K, 0.7), (N,): fewer of them need a lighter tail,
        for they see less of it. 0.7 from 2,200 samples on.

        Reference:
            Vehtari, Simpson, Gelman, Yao, Gabry 2024, "Pareto smoothed importance sampling".
        """
        return (1 - 1 / self.num_samples.double().clamp(min=10).log10()).clamp(max=HEAVY)

    @property
    def jackknife(self) -> Tensor:
        """Estimates of log p(x) from the same weights, whose bias falls with K^2 where these are independent, (N,);
        those of fitted proposals are stratified, for which they correct a little too much. No bounds; nan where they
        were not computed.

        Reference:
            Nowozin 2018, "Debiasing evidence approximations: on importance-weighted autoencoders and jackknife
            variational inference".
        """
        return self.details.get("jackknife", torch.full_like(self.log_prob, math.nan))

    @property
    def delta_method_bias(self) -> Tensor:
        """Bias of log_prob to first order, -SE^2 / 2, for independent weights -CV^2 / (2 K) with CV their coefficient
        of variation, (N,), and +SE^2 / 2 for an upper bound: an estimate from the weights that were drawn, which knows
        nothing of those that were missed, and no bound; nan of a difference of two estimates."""
        sign = {"lower": -1.0, "upper": 1.0}.get(self.bound, math.nan)
        return sign * self.standard_error.square() / 2

    def last_rise(self) -> tuple[int, int, float] | None:
        """How far the mean bound rose with the last tenfold of samples, which grows to log p(x) with K: from the count
        K, to K', nats per data point. None with fewer than ten samples."""
        levels = self.convergence()
        earlier = [level for level in levels if 10 * level[0] <= levels[-1][0]]
        return (earlier[-1][0], levels[-1][0], levels[-1][1] - earlier[-1][1]) if earlier else None

    def convergence(self) -> list[tuple[int, float, float]]:
        """How the mean grows with K: (K, mean in nats per data point, its Monte Carlo standard error)."""
        return [
            (k, mean.value, mean.monte_carlo_error)
            for k, mean in ((k, measured(*self.log_levels[k])) for k in sorted(self.log_levels))
            if math.isfinite(mean.value)
        ]

    def __getitem__(self, some: Any) -> LogMarginal:
        """The results of some of the data points: a number, a slice, indices or a mask."""
        some = [some] if isinstance(some, int) else some
        return self._map(lambda array: array[some])

    def inverse(self) -> LogMarginal:
        """Of log p(x), where this is an estimate of log 1/p(x): a lower bound becomes an upper one."""
        return dataclasses.replace(
            self,
            log_prob=-self.log_prob,
            bound="upper",
            log_levels={k: (-value, error) for k, (value, error) in self.log_levels.items()},
            details={name: -array if name == "jackknife" else array for name, array in self.details.items()},
        )

    def with_details(self, **arrays: Tensor) -> LogMarginal:
        """The same with further arrays of each data point."""
        return dataclasses.replace(self, details={**self.details, **arrays})

    def _map(self, change: Any) -> LogMarginal:
        arrays = {name: change(getattr(self, name)) for name in ARRAYS}
        levels = {k: (change(value), change(error)) for k, (value, error) in self.log_levels.items()}
        details = {name: change(array) for name, array in self.details.items()}
        known = {name: change(array) for name in OPTIONAL if (array := getattr(self, name)) is not None}
        return dataclasses.replace(self, **arrays, **known, log_levels=levels, details=details)

    @staticmethod
    def join(results: Sequence[LogMarginal]) -> LogMarginal:
        """The results of several sets of data points, one after the other, as one."""

        def level(k: int, part: int) -> Tensor:
            missing = [(torch.full_like(r.log_prob, math.nan),) * 2 for r in results]
            return torch.cat([r.log_levels.get(k, m)[part] for r, m in zip(results, missing, strict=True)])

        found: dict[str, Any] = {name: torch.cat([getattr(r, name) for r in results]) for name in ARRAYS}
        for name in OPTIONAL:
            known = [array for r in results if (array := getattr(r, name)) is not None]
            found[name] = torch.cat(known) if len(known) == len(results) else None
        for name in ("measure", "estimator"):
            found[name] = " and ".join(sorted({getattr(r, name) for r in results}))
        return LogMarginal(
            **found,
            **{name: getattr(results[0], name) for name in ("bound", "sites", "given", "inputs")},
            log_levels={k: (level(k, 0), level(k, 1)) for k in sorted({k for r in results for k in r.log_levels})},
            shared_error=max(r.shared_error for r in results),
            details={name: torch.cat([r.details[name] for r in results]) for name in results[0].details},
        )

    def to_json(self) -> dict[str, Any]:
        """The numbers over all data points, ready for JSON; None for a number that is not finite."""
        return summarized(self)

    def save(self, path: str | Path, about: Mapping[str, Any] | None = None) -> None:
        """Save as PATH.json (numbers over all data points, and what is said about them) and PATH.npz (arrays of each).

        A result that was there before is replaced by a whole one.
        """
        save_arrays(path, self.arrays(), {**(about or {}), **self.to_json()}, kind="LogMarginal")

    @staticmethod
    def load(path: str | Path) -> LogMarginal:
        """What `save` has saved.

        Raises:
            FileNotFoundError: PATH.json or PATH.npz is not there.
            ValueError: one of them is damaged, or they do not belong together.
        """
        arrays, about = load_arrays(path, kind="LogMarginal")
        return LogMarginal.from_arrays(arrays, about=about)

    def arrays(self) -> dict[str, Tensor]:
        """All numbers, as arrays by name."""
        levels, errors = ({str(k): pair[i] for k, pair in self.log_levels.items()} for i in (0, 1))
        return {
            **{name: getattr(self, name) for name in ARRAYS},
            **with_prefix("level", levels),
            **with_prefix("level_error", errors),
            **with_prefix("details", self.details),
            "shared_error": torch.tensor(self.shared_error, dtype=torch.float64),
            **{name: array for name in OPTIONAL if (array := getattr(self, name)) is not None},
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, Tensor], *, about: Mapping[str, Any]) -> LogMarginal:
        """The result with these `arrays`, and what `to_json` says about it.

        Raises:
            ValueError: arrays are missing, or are not of one length and of numbers.
        """
        errors, levels = of_prefix("level_error", arrays), of_prefix("level", arrays)
        require_arrays(arrays, ARRAYS, OPTIONAL)
        numbers: dict[str, Any] = {name: arrays[name] for name in ARRAYS} | {n: arrays.get(n) for n in OPTIONAL}
        return LogMarginal(
            **numbers,
            **{name: about[name] for name in ("bound", "measure", "estimator")},
            sites=about.get("sites", {}),
            given=about.get("given", {}),
            inputs=tuple(about.get("inputs", ())),
            log_levels={int(k): (value, errors[k]) for k, value in levels.items()},
            shared_error=arrays["shared_error"].item(),
            details=of_prefix("details", arrays),
        )

    def to_frame(self) -> Any:
        """A `pandas.DataFrame` with a row for each data point: its number, estimate and errors, in nats.

        The columns are the attributes of (N,), ``unreliable``, and the details; one of (N, T), such as the temperatures
        of annealing, becomes NAME_0, NAME_1, .... ``frame.to_csv`` and ``frame.to_latex`` write it.

        Raises:
            ImportError: pandas is not installed.
        """
        columns = {name: getattr(self, name) for name in (*ARRAYS, "unreliable")}
        for name, array in self.details.items():
            wide = {f"{name}_{i}": column for i, column in enumerate(array.flatten(1).T)} if array.dim() > 1 else {}
            columns |= wide or {name: array}
        numbers = torch.arange(len(self)) if self.indices is None else self.indices
        arrays = {name: column.numpy() for name, column in columns.items()}
        return frame(arrays, index=numbers.tolist(), index_name="data_point")

    def _repr_html_(self) -> str:
        return html(self.quantity, rows_of(self))

    def __repr__(self) -> str:
        return line_of(self)

    @property
    def side(self) -> str:
        """ "lower bound", "upper bound" or "no bound"."""
        return "no bound" if self.bound == "none" else f"{self.bound} bound"

    @property
    def quantity(self) -> str:
        """What is estimated: "log p(a, b)", "log p(a | b)"; of more than four sites the first and the last."""
        return quantity_of(self.sites, [*self.given, *self.inputs])
