"""What every estimator of log p(x) returns."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..disk.json_files import null_for_nan
from .saved import load_arrays, of_prefix, save_arrays, with_prefix

HEAVY = 0.7  # k-hat above which importance sampling is not to be trusted (Vehtari and others 2024)


ARRAYS = ("log_prob", "standard_error", "ess", "khat", "num_samples")


STUCK = 0.1  # mean acceptance of an image's transitions, below which its chains have hardly moved


class HeavyTail(UserWarning):
    """Images whose weights have so heavy a tail, or whose chains moved so little, that neither their estimate nor its
    error can be trusted."""


@dataclass(frozen=True)
class LogMarginal:
    """Estimates of log p(x) in nats, one for each image. Tensors are (N,), on the CPU, float64 where not counts.

    Attributes:
        log_prob: the estimate. Of a lower bound the mean lies below log p(x), by about half the squared standard error.
        standard_error: Monte Carlo standard error of log_prob, by the delta method from the weights themselves; nan
            with one sample. Trust it only where khat is small.
        ess: effective sample size of the weights, from 1 (one sample dominates) to num_samples (exact posterior).
        khat: shape of the Pareto distribution fitted to the largest weights. Above 0.7 the error is not to be trusted
            and the estimate is likely too low; above 1 the weights have no mean that such a sample could find. nan with
            fewer than 25 samples, and where the largest weights repeat, as they do with few discrete states.
        num_samples: samples (weights) drawn for each image.
        bound: "lower" or "upper", the side of log p(x) on which the mean of log_prob lies.
        log_levels: bounds from the same weights with fewer samples: by K = 1, 10, 100, ... up to the number drawn, the
            mean of log mean of K weights at a time (N,), the K-sample importance-weighted bound; nan for images with
            fewer samples. Empty if not kept.
        shared_error: standard error of an error that all images share, such as that of the estimated normalizer of a
            prior, in nats.
        details: further arrays of each image, by name, such as an annealed estimate's acceptance.
    """

    log_prob: Tensor
    standard_error: Tensor
    ess: Tensor
    khat: Tensor
    num_samples: Tensor
    bound: Literal["lower", "upper"] = "lower"
    log_levels: Mapping[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    shared_error: float = 0.0
    details: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.log_prob)

    @property
    def mean(self) -> float:
        """Mean of log p(x) over the images, in nats per image."""
        return self.log_prob.mean().item()

    @property
    def mean_monte_carlo_error(self) -> float:
        """Standard error of `mean` from the Monte Carlo estimates alone: these images, other samples."""
        return math.hypot(self.standard_error.square().sum().sqrt().item() / len(self), self.shared_error)

    @property
    def mean_standard_error(self) -> float:
        """Standard error of `mean` as an estimate for the population: other images, other samples; nan for one image.

        The spread of the estimates over images holds the spread of log p(x) and the Monte Carlo error both.
        """
        return (
            math.hypot(self.log_prob.std().item() / math.sqrt(len(self)), self.shared_error)
            if len(self) > 1
            else math.nan
        )

    @property
    def unreliable(self) -> Tensor:
        """Whether an image's number is not to be trusted: k-hat above 0.7, chains that hardly moved, or not finite.

        (N,), bool.
        """
        stuck = self.details.get("acceptance", torch.full_like(self.log_prob, math.nan)) < STUCK
        return (self.khat > HEAVY) | stuck | ~self.log_prob.isfinite()

    def convergence(self) -> list[tuple[int, float, float]]:
        """How the mean over images grows with K: (K, mean in nats per image, its Monte Carlo standard error)."""
        return [
            (k, value.mean().item(), error.square().sum().sqrt().item() / len(self))
            for k, (value, error) in sorted(self.log_levels.items())
            if value.isfinite().all()
        ]

    def __getitem__(self, images: Any) -> LogMarginal:
        """The results of some of the images: a slice, indices or a mask."""
        return self._map(lambda array: array[images])

    def with_shared_error(self, error: float) -> LogMarginal:
        """The same with an error that all images share."""
        return dataclasses.replace(self, shared_error=error)

    def inverse(self) -> LogMarginal:
        """Of log p(x), where this is an estimate of log 1/p(x): a lower bound becomes an upper one."""
        return dataclasses.replace(
            self,
            log_prob=-self.log_prob,
            bound="upper",
            log_levels={k: (-value, error) for k, (value, error) in self.log_levels.items()},
        )

    def with_details(self, **arrays: Tensor) -> LogMarginal:
        """The same with further arrays of each image."""
        return dataclasses.replace(self, details={**self.details, **arrays})

    def _map(self, change: Any) -> LogMarginal:
        arrays = {name: change(getattr(self, name)) for name in ARRAYS}
        levels = {k: (change(value), change(error)) for k, (value, error) in self.log_levels.items()}
        details = {name: change(array) for name, array in self.details.items()}
        return dataclasses.replace(self, **arrays, log_levels=levels, details=details)

    @staticmethod
    def join(results: Sequence[LogMarginal]) -> LogMarginal:
        """The results of several sets of images, one after the other, as one."""

        def level(k: int, part: int) -> Tensor:
            missing = [(torch.full_like(r.log_prob, math.nan),) * 2 for r in results]
            return torch.cat([r.log_levels.get(k, m)[part] for r, m in zip(results, missing, strict=True)])

        arrays: dict[str, Any] = {name: torch.cat([getattr(r, name) for r in results]) for name in ARRAYS}
        return LogMarginal(
            **arrays,
            bound=results[0].bound,
            log_levels={k: (level(k, 0), level(k, 1)) for k in sorted({k for r in results for k in r.log_levels})},
            shared_error=max(r.shared_error for r in results),
            details={name: torch.cat([r.details[name] for r in results]) for name in results[0].details},
        )

    def to_json(self) -> dict[str, Any]:
        """The numbers over all images, ready for JSON; None for a number that is not finite."""
        numbers = {
            "log_marginal_nats_per_image": self.mean,
            "standard_error_over_images": self.mean_standard_error,
            "monte_carlo_error": self.mean_monte_carlo_error,
            "bound": self.bound,
            "smallest_ess": -_largest(-self.ess),
            "median_ess": self.ess.nanmedian().item(),
            "images_with_ess_below_10": int((self.ess < 10).sum()),
            "largest_khat": _largest(self.khat),
            "images_with_khat_above_0.7": int((self.khat > HEAVY).sum()),
            "images_not_finite": int((~self.log_prob.isfinite()).sum()),
            "num_images": len(self),
            "num_samples": _one_or_range(self.num_samples),
            "convergence": [
                {"num_samples": k, "log_marginal": mean, "monte_carlo_error": error}
                for k, mean, error in self.convergence()
            ],
            "shared_error": self.shared_error,
        }
        return {name: null_for_nan(value) for name, value in numbers.items()}

    def save(self, path: str | Path, about: Mapping[str, Any] | None = None) -> None:
        """Save as PATH.json (numbers over all images, and what else is said about them) and PATH.npz (arrays of each
        image). A result that was there before is replaced by a whole one."""
        save_arrays(path, self.arrays(), {**self.to_json(), **(about or {})}, kind="LogMarginal")

    @staticmethod
    def load(path: str | Path) -> LogMarginal:
        """What `save` has saved.

        Raises:
            FileNotFoundError: PATH.json or PATH.npz is not there.
            ValueError: one of them is damaged, or they do not belong together.
        """
        arrays, about = load_arrays(path, kind="LogMarginal")
        return LogMarginal.from_arrays(arrays, bound=about["bound"])

    def arrays(self) -> dict[str, Tensor]:
        """All numbers, as arrays by name."""
        levels, errors = ({str(k): pair[i] for k, pair in self.log_levels.items()} for i in (0, 1))
        return {
            **{name: getattr(self, name) for name in ARRAYS},
            **with_prefix("level", levels),
            **with_prefix("level_error", errors),
            **with_prefix("details", self.details),
            "shared_error": torch.tensor(self.shared_error, dtype=torch.float64),
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, Tensor], *, bound: Literal["lower", "upper"]) -> LogMarginal:
        """The result with these `arrays`."""
        errors = of_prefix("level_error", arrays)
        numbers: dict[str, Any] = {name: arrays[name] for name in ARRAYS}
        return LogMarginal(
            **numbers,
            bound=bound,
            log_levels={int(k): (value, errors[k]) for k, value in of_prefix("level", arrays).items()},
            shared_error=arrays["shared_error"].item(),
            details=of_prefix("details", arrays),
        )

    def __repr__(self) -> str:
        flagged = int(self.unreliable.sum())
        largest = _largest(self.khat)
        khat = "no k-hat" if math.isnan(largest) else f"k-hat up to {largest:.2f}"
        return (
            f"LogMarginal(mean {self.mean:.3f} nats per image, +- {self.mean_standard_error:.3f} over {len(self):,} "
            f"images, +- {self.mean_monte_carlo_error:.3f} Monte Carlo; {counted(self.num_samples)} samples per image, "
            f"ESS from {-_largest(-self.ess):.1f} to {_largest(self.ess):.1f}, "
            f"{khat}{f', {flagged:,} images unreliable' if flagged else ''}; "
            f"{self.bound} bound)"
        )


def warn_of(result: LogMarginal, images: list[int], *, stacklevel: int) -> None:
    """Warn of images, given by their numbers, without a finite result, and of those whose is not to be trusted."""
    if bad := int((~result.log_prob.isfinite()).sum()):
        warnings.warn(
            f"log p(x) is not finite for {bad:,} of {len(result):,} images: every weight was zero, or one was not a "
            f"number. Find them with result.log_prob.isfinite().",
            stacklevel=stacklevel,
        )
    if heavy := int((result.khat > HEAVY).sum()):
        worst = result.khat.nan_to_num(-math.inf).argsort(descending=True)[: min(heavy, 5)].tolist()
        named = ", ".join(f"{images[i]} with {result.khat[i].item():.2f}" for i in worst)
        warnings.warn(
            f"k-hat is above {HEAVY} for {heavy:,} of {len(result):,} images (the worst: image {named}): their log "
            f"p(x) is likely too low, by more than its standard error says. Draw more samples, widen the guide a "
            f"little (pyro_vae.widened(guide, 1.1)), with few latents mix in the prior (defensive=0.1), or take "
            f"annealed_log_marginal.",
            HeavyTail,
            stacklevel=stacklevel,
        )
    stuck = int((result.details.get("acceptance", torch.ones(len(result))) < STUCK).sum())
    if stuck:
        warnings.warn(
            f"Fewer than {STUCK:.0%} of the transitions were accepted for {stuck:,} of {len(result):,} images: their "
            f"chains have hardly moved, and log p(x) may be far too low. Take more temperatures.",
            HeavyTail,
            stacklevel=stacklevel,
        )


def counted(num_samples: Tensor) -> str:
    """How many samples, or from how many to how many."""
    least, most = int(num_samples.min()), int(num_samples.max())
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"


def _largest(values: Tensor) -> float:
    """Of those that are numbers; nan for none: an image without one does not hide the others'."""
    known = values[~values.isnan()]
    return known.max().item() if len(known) else math.nan


def _one_or_range(num_samples: Tensor) -> int | list[int]:
    least, most = int(num_samples.min()), int(num_samples.max())
    return least if least == most else [least, most]
