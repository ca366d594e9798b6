"""What must hold of data, settings and pair before the first step."""

from __future__ import annotations

from collections.abc import Iterable

from pyro import poutine
from torch import Tensor

from ..pairs.checks import check_data, check_latents
from ..pairs.contexts import evaluating, seeded, train_mode, unvalidated
from ..pairs.modules import Callee, modules_of
from ..pairs.scoring import traces
from ..pairs.trainable import check_trainable


def check_arguments(
    data: Tensor, validation: Tensor | None, *, epochs: int, batch_size: int, patience: int | None, missing: bool
) -> None:
    """Raise a ValueError for counts below 1, patience without validation images, and values that are not finite (NaN is
    let pass where values may be missing)."""
    for name, value in (("epochs", epochs), ("batch_size", batch_size), ("number of images", len(data))):
        if value < 1:
            raise ValueError(f"Expected {name} >= 1; got {value}.")
    if patience is not None and (patience < 1 or validation is None):
        raise ValueError(
            f"Expected patience >= 1 together with validation images; got patience={patience} "
            f"{'without them' if validation is None else ''}. Give validation=..., or leave patience out."
        )
    for name, images in (("data", data), ("validation", validation)):
        if images is None or not images.is_floating_point() or images.sum().isfinite():
            continue  # a sum is finite only if all its terms are, and much quicker than a mask of them
        wrong = images.isinf() if missing else ~images.isfinite()
        if wrong.any():
            raise ValueError(
                f"Expected finite values in {name}; got {int(wrong.sum()):,} NaN or infinite ones. Remove or replace "
                f"them; for values that are missing, mark them with NaN and take Masked(likelihood)."
            )


def check_all_data(model: Callee, guide: Callee, batches: Iterable[Tensor], validation: Tensor | None) -> None:
    """`check_data` before the first step; recorded steps do not look at values again.

    Parameters of distributions that are not finite are left to the step that meets them, which names its sites.
    """
    with evaluating(model, guide, initial=True), unvalidated():
        check_data(model, guide, batches, enumerated=True)
        if validation is not None:
            check_data(model, guide, [validation])


def require_parameters(model: Callee, guide: Callee, batch: Tensor) -> None:
    """Run the pair once, so that what is wrong with it shows before training, and see that it has parameters."""
    check_trainable(model, guide, batch)
    with evaluating(model, guide, initial=True), poutine.trace(param_only=True) as capture:
        model_trace, guide_trace = traces(model, guide, batch, enumerated=True)
        discrete = check_latents(model_trace, guide_trace)
    if discrete:  # perhaps not while training
        with seeded(0), evaluating(model, guide, initial=True), train_mode(modules_of(model, guide)):
            check_latents(*traces(model, guide, batch, enumerated=True))
    if not any(site["type"] == "param" and site["value"].requires_grad for site in capture.trace.nodes.values()):
        raise ValueError(
            "Expected something to train; got a model and a guide without trainable parameters. Give bound methods of "
            "an nn.Module or PyroModule that has parameters, or functions that call pyro.module or pyro.param."
        )
