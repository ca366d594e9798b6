"""Scalars of a training run for TensorBoard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .fitted import Metrics


@contextmanager
def tensorboard_writer(folder: str | Path | None, *, anew: bool = False) -> Iterator[Callable[[Metrics], None]]:
    """A function that writes the metrics of an epoch to a folder; without one, it does nothing.

    Args:
        folder: for its files of events.
        anew: whether TensorBoard shall leave out what earlier files there hold.
    """
    if folder is None:
        yield lambda metrics: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            'Expected the package tensorboard; got none. Run pip install "pyro-vae[tensorboard]".'
        ) from error
    with SummaryWriter(str(folder), purge_step=0 if anew else None) as writer:

        def write(metrics: Metrics) -> None:
            for name, value in metrics.items():
                writer.add_scalar(name, value, int(metrics["step"]))

        yield write
