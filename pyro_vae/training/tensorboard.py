"""What TensorBoard shows of a training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..pairs.batch import Points
from ..pairs.contexts import evaluating, seeded
from ..pairs.dimensions import rate_by_dimension
from ..pairs.enumerated import beside_guide, summed_out
from ..pairs.modules import Callee
from ..pairs.scoring import traces
from ..pairs.sites import latents_of
from ..pairs.unconditional import drawn_from, mean_of, observed_sites
from .fitted import Metrics
from .visiting import pieces

AT_ONCE = 1000  # validation data points for the rate of each dimension
MOST_CURVES = 128  # dimensions with a curve of their own; all are in the histogram
IMAGES = 8  # data points whose reconstructions are shown


@contextmanager
def tensorboard_writer(
    folder: str | Path | None, device: torch.device, *, past: Sequence[Metrics] = ()
) -> Iterator[Callable[[Metrics, Callee, Callee, Any], None]]:
    """A function of metrics, pair and validation data that writes what there is to see at the end of an epoch.

    Args:
        folder: for its files of events; without one, nothing is written.
        device: where the pair is.
        past: metrics of the epochs that an earlier process has finished. What it wrote of later ones is left out.
    """
    if folder is None:
        yield lambda *_: None
        return
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise ImportError(
            'Expected the package tensorboard; got none. Run pip install "pyro-vae[tensorboard]".'
        ) from error
    unseen = past if not any(Path(folder).glob("events.out.tfevents.*")) else ()
    purge = int(past[-1]["step"]) + 1 if past and not unseen else None
    with SummaryWriter(str(folder), purge_step=purge) as writer:
        board = _Board(writer, device)
        for metrics in unseen:
            board.write_metrics(metrics)
        yield board.write


class _Board:
    def __init__(self, writer: Any, device: torch.device) -> None:
        self.writer, self.device = writer, device
        self.x: Any = None  # the first validation data

    def write(self, metrics: Metrics, model: Callee, guide: Callee, validation: Any) -> None:
        """The metrics of an epoch; of validation data, where there are any, the rate by dimension and images."""
        self.write_metrics(metrics)
        if validation is not None:
            with seeded(0):  # a loader draws its order
                self.x = next(iter(pieces(validation, AT_ONCE, self.device))) if self.x is None else self.x
            _write_rates(self.writer, model, guide, self.x, int(metrics["step"]))
            if is_shown(int(metrics["epoch"])):
                _write_images(self.writer, model, guide, self.x[:IMAGES], int(metrics["step"]))
        self.writer.flush()  # what a killed process has written is there for the one that goes on

    def write_metrics(self, metrics: Metrics) -> None:
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, int(metrics["step"]))


def is_shown(epoch: int) -> bool:
    """Whether images are written after an epoch: the 1st, 2nd, 5th, 10th, 20th, 50th and so on.

    Example:
        >>> [epoch for epoch in range(1, 300) if is_shown(epoch)]
        [1, 2, 5, 10, 20, 50, 100, 200]
    """
    return str(epoch).rstrip("0") in ("1", "2", "5")


def _write_rates(writer: Any, model: Callee, guide: Callee, x: Points, step: int) -> None:
    """The rate of each latent dimension, nats per data point, where dimensions have one."""
    with evaluating(model, guide), seeded(0):
        found = rate_by_dimension(*traces(*summed_out(model, guide, x), x), shape=(len(x),))
    for name, nats in (found or {}).items():
        rates = nats.mean(0)
        writer.add_histogram(f"rate_by_dimension/{name}", rates, step)
        for dimension, rate in enumerate(rates[:MOST_CURVES].tolist()):
            writer.add_scalar(f"rate_by_dimension/{name}/{dimension}", rate, step)


def _write_images(writer: Any, model: Callee, guide: Callee, x: Points, step: int) -> None:
    """Data above their reconstructions, and means of p(x|z) with z from the prior; of sites that are images."""
    try:
        with evaluating(model, guide), seeded(0):
            model_trace, _ = traces(beside_guide(model, guide, x), guide, x)
            latents = {name: site["value"] for name, site in latents_of(model_trace).items()}
            again, drawn = drawn_from(model, x, given=latents), drawn_from(model, x)
    except ValueError:  # a model that can be trained, not drawn from
        return
    for name, site in observed_sites(again).items():
        data = site["infer"]["obs"]
        if data.dim() == 4 and data.shape[1] in (1, 3):
            rows = torch.cat([data, mean_of(site)])
            writer.add_image(f"{name}/reconstructions", _page(rows), step)
            writer.add_image(f"{name}/samples", _page(mean_of(drawn.nodes[name])), step)


def _page(images: Tensor) -> Tensor:
    """Images (N, C, H, W) as one picture (3, H', W'), with values in [0, 1], `IMAGES` in a row."""
    from torchvision.utils import make_grid  # imports torch's compiler: two seconds that most commands need not wait

    return make_grid(images.float().nan_to_num(0.5).clamp(0, 1), nrow=IMAGES, pad_value=1.0, padding=1)
