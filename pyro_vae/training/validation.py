"""ELBO, rate and distortion of validation data."""

from __future__ import annotations

from typing import Any

import torch

from ..pairs.contexts import evaluating, seeded
from ..pairs.modules import Callee
from ..pairs.scoring import score_traces, traces
from .fitted import Metrics
from .nonfinite import sites_not_finite
from .sharing import ALONE, Share
from .visiting import pieces

LEAST_AT_ONCE = 1000  # data points in a batch, which small batches of training would slow down


def validate(
    model: Callee, guide: Callee, data: Any, *, batch_size: int, device: torch.device, share: Share = ALONE
) -> tuple[Metrics, list[str]]:
    """ELBO, rate and distortion from one draw for each data point, the same random numbers every time.

    Of a pair with enumerated sites summed out it is the ELBO of its other latents: `TraceEnum_ELBO` in expectation
    where the model alone has such sites, and at least as tight where the guide draws them, whose q counts for the other
    latents only. Without others it is log p(x), at a rate of 0.

    Args:
        share: what this process takes of each batch; the numbers are those of all of it.

    Returns:
        The three, in nats per data point, and the sites whose log-probability is not finite. Nothing without data.
    """
    if data is None:
        return {}, []
    sums, num_data = torch.zeros(2, dtype=torch.float64, device=device), 0
    sites: set[str] = set()
    with evaluating(model, guide), seeded(0):
        for batch in pieces(data, max(batch_size, LEAST_AT_ONCE), device):
            num_data += len(batch)
            size, batch = len(batch), batch[share.rows(len(batch))]
            with share.drawing(size):
                pair = traces(model, guide, batch)
            scores = score_traces(*pair, shape=(len(batch),))
            if share.weight(size):
                sums += torch.stack([scores.rate.sum(), scores.distortion.sum()])
            if not scores.log_weight.isfinite().all():
                sites |= set(sites_not_finite(*pair))
    rate, distortion = (share.summed(sums) / num_data).tolist()
    metrics = {"validation_elbo": -(rate + distortion), "validation_rate": rate, "validation_distortion": distortion}
    return metrics, sorted(sites)
