"""The steps of one epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..objectives.kl_weights import KLWeight
from ..output.progress import Progress
from .fitted import Metrics
from .steps import Steps
from .visiting import with_last

OnStep = Callable[[int, Metrics], None]


def each_of(on_step: OnStep | Sequence[OnStep] | None) -> tuple[OnStep, ...]:
    """What is called after a step: none, one or several functions; a TypeError says what cannot be called."""
    found = () if on_step is None else (on_step,) if callable(on_step) else tuple(on_step)
    if wrong := [each for each in found if not callable(each)]:
        raise TypeError(f"Expected on_step to be a function, or several; got {type(wrong[0]).__name__}.")
    return found


class StopTraining(Exception):
    """Raised by the ``on_step`` of `fit` to end the run, as patience does: `fit` returns its `Fit`.

    The epoch ends with the step that was reported: it is validated, enters the history, and its state is kept if it is
    the best one.

    Example:
        >>> def on_step(step, metrics):
        ...     if step == 1000:
        ...         raise StopTraining
    """


def train_epoch(
    epoch: int,
    steps: Steps,
    batches: Iterable[Any],
    kl_weight: KLWeight,
    read_every: int,
    on_step: Sequence[OnStep],
    bar: Progress,
) -> tuple[Metrics, bool]:
    """Take a step for each batch.

    Args:
        batches: what each step takes: indices of data points (B,), or the data points themselves.
        read_every: losses are read once in so many steps, and after the last one.
        on_step: each is called with the number and the loss of each step but the last one, which the caller reports.

    Returns:
        The entries of the history about training, and whether one of ``on_step`` has stopped it.
    """
    total, seen, stopped, compiling = 0.0, 0, False, steps.compile_seconds
    unread: list[tuple[int, int]] = []  # number and size of each step whose loss is not read yet
    for batch, is_last in with_last(batches):
        if steps.taken in (0, 3) and steps.recorded is not None:  # these take long: say so
            bar.set_description(f"compiled in {steps.compile_seconds:.0f} s" if steps.taken else "compiling")
        kl_weight.set(steps.taken)
        steps.take(batch)
        bar.update()
        unread.append((steps.taken, len(batch)))
        if steps.taken % read_every and not is_last:
            continue
        for (step, size), loss in zip(unread, steps.read(), strict=True):
            total, seen = total + loss, seen + size
            if not (is_last and step == steps.taken):
                stopped = told(on_step, step, {"loss": loss / size}) or stopped
        unread.clear()
        if stopped and steps.share.count == 1:  # else all processes end together, with the epoch
            break
    metrics: Metrics = {"epoch": epoch, "step": steps.taken, "loss": total / seen}
    metrics |= {"kl_weight": kl_weight.tensor.item()} | steps.optimizer.metrics()
    if spent := steps.compile_seconds - compiling:
        metrics["compile_seconds"] = spent
    return metrics, steps.share.any(stopped, kl_weight.tensor.device)


def told(on_step: Sequence[OnStep], step: int, metrics: Metrics) -> bool:
    """Call all of them back; whether one stopped the training."""
    stopped = False
    for each in on_step:
        try:
            each(step, metrics)
        except StopTraining:
            stopped = True
    return stopped
