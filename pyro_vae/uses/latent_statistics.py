"""What a batch's latents are like under the guide: rates, means, and how noisy these are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..pairs.batch import Points
from ..pairs.dimensions import rate_by_dimension, rows
from ..pairs.modules import Callee
from ..pairs.scoring import score_traces, traces
from ..pairs.sites import is_summed_out, latents_of


@dataclass(frozen=True)
class LatentStatistics:
    """What one batch gives."""

    rate: Tensor  # (K, B)
    distortion: Tensor  # (K, B)
    information: Tensor | None  # (B, D)
    mean: Tensor  # (B, D), of z under the guide
    noise: Tensor  # (B, D), variance of that mean where it is sampled
    dimensions: tuple[str, ...]

    @staticmethod
    def of(model: Callee, guide: Callee, x: Points, num_samples: int) -> LatentStatistics:
        """Draw num_samples times, by whole passes of the pair: any pair can do that."""
        shape, scores, values, whole = (len(x),), [], [], []
        for _ in range(num_samples):
            model_trace, guide_trace = traces(model, guide, x)
            scores.append(score_traces(model_trace, guide_trace, shape=shape))
            latents = latents_of(guide_trace)
            values.append(torch.cat([rows(s["value"], s["fn"].event_dim, shape) for s in latents.values()], -1))
            if (nats := rate_by_dimension(model_trace, guide_trace, shape=shape)) is not None:
                whole.append(torch.cat([*nats.values()], -1))
        widths = {name: rows(s["value"], s["fn"].event_dim, shape).shape[-1] for name, s in latents.items()}
        information = torch.stack(whole).mean(0) if whole else None
        z = torch.stack(values)  # (K, B, D)
        single = len(latents) == 1 and not is_summed_out(guide_trace)
        exact = _exact_mean(next(iter(latents.values()))) if single else None
        return LatentStatistics(
            rate=torch.stack([s.rate for s in scores]),
            distortion=torch.stack([s.distortion for s in scores]),
            information=information,
            mean=z.mean(0) if exact is None else exact,
            noise=z.var(0) / num_samples if exact is None else torch.zeros_like(z[0]),
            dimensions=tuple(f"{name}[{d}]" for name, width in widths.items() for d in range(width)),
        )


def _exact_mean(site: Any) -> Tensor | None:
    try:
        mean = site["fn"].mean.expand_as(site["value"])
    except (NotImplementedError, AttributeError):
        return None
    count = site["value"].shape[-1 - site["fn"].event_dim]
    return rows(mean, site["fn"].event_dim, (count,)) if mean.isfinite().all() else None
