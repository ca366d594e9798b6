"""ELBO, rate and distortion of validation data."""

from __future__ import annotations

from torch import Tensor

from ..pairs.contexts import evaluating, seeded
from ..pairs.modules import Callee
from ..pairs.scoring import score
from .fitted import Metrics


def validate(model: Callee, guide: Callee, images: Tensor, *, batch_size: int) -> Metrics:
    """ELBO, rate and distortion from one draw for each image, the same random numbers every time."""
    rate = distortion = 0.0
    with evaluating(model, guide), seeded(0):
        for batch in images.split(batch_size):
            scores = score(model, guide, batch)
            rate += scores.rate.sum().item()
            distortion += scores.distortion.sum().item()
    rate, distortion = rate / len(images), distortion / len(images)
    return {"validation_elbo": -(rate + distortion), "validation_rate": rate, "validation_distortion": distortion}
