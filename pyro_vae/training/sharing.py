"""Batches that are shared out over processes: each takes some data points of a batch, and all take the same step."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import pyro
import torch
import torch.distributed as dist
from pyro.infer import ELBO
from torch import Tensor, nn

from ..pairs.batch import Points
from ..pairs.modules import Callee, modules_of
from ..pairs.state import get_state, set_state
from .trials import trying
from .visiting import Visits
from .whole_draws import WholeDraws

TOLERANCE = 1e-3  # of a loss, and of the norm of a gradient: sums are rounded in another order

T = TypeVar("T")


class LostProcess(ConnectionError):
    """Another process of a training that is shared out has ended, and this one cannot go on without it."""


@dataclass(frozen=True)
class Share:
    """What one of several processes takes of each batch; with one process, everything.

    Attributes:
        rank: number of this process, from 0.
        count: of the processes.
    """

    rank: int = 0
    count: int = 1

    def rows(self, size: int) -> slice:
        """The data points of a batch that this process takes, one after the other, and at least one."""
        first, end = self.rank * size // self.count, (self.rank + 1) * size // self.count
        return slice(first, end) if first < end else slice(0, 1)

    def weight(self, size: int) -> float:
        """0 where a batch has not enough data points, and this process takes one that is another's; else 1."""
        return float(self.rank * size // self.count < (self.rank + 1) * size // self.count)

    def drawing(self, size: int) -> contextlib.AbstractContextManager[Any]:
        """Inside, the rows get the random numbers that they would get in the whole batch."""
        rows = self.rows(size)
        count = rows.stop - rows.start
        return contextlib.nullcontext() if count == size else WholeDraws(rows.start, count, size)

    def summed(self, values: Tensor) -> Tensor:
        """The sum of a tensor over the processes, the same bits in each, in its place; see `LostProcess`."""
        if self.count > 1:
            with _together():
                dist.all_reduce(values)
        return values

    def any(self, flag: bool, device: torch.device) -> bool:
        """Whether it is so in one of the processes."""
        return flag if self.count == 1 else bool(self.summed(torch.tensor(float(flag), device=device)) > 0)

    def from_first(self, value: T) -> T:
        """An object of the first process, in each."""
        if self.count == 1:
            return value
        held = [value]
        with _together():
            dist.broadcast_object_list(held, src=0)
        return held[0]

    def begin(self, elbo: ELBO, pair: tuple[Callee, Callee], visited: Visits, modules: dict[str, nn.Module]) -> None:
        """Begin with the parameters and buffers of the first process, if batches of each size pass `check_shares`."""
        if self.count == 1:
            return
        store, first = pyro.get_param_store(), visited.first()
        self._state_from_first(modules, store)
        for size in sorted({visited.full_batch, *getattr(visited, "sizes", [])}):
            check_shares(elbo, pair, visited.batch_of, first[:size], self)

    def _state_from_first(self, modules: dict[str, nn.Module], store: Any) -> None:
        state = get_state(modules, store)
        names = self.from_first(sorted(state))
        if names != sorted(state):
            raise ValueError(
                f"Expected the same parameters in each process; got others in process {self.rank}: "
                f"{', '.join(sorted({*names} ^ {*state})[:5])}."
            )
        for name in names:
            with _together():
                dist.broadcast(state[name].contiguous(), src=0)
        set_state(modules, store, state)

    def gradients(self, loss: Tensor | float, size: int) -> Tensor:
        """Sum loss and gradients of the parameters in the store over the processes; returns the loss, shape ().

        One message holds all of them, and how many processes have a gradient for each parameter: one that none has a
        gradient for stays without.
        """
        params = _params()
        there = [p.grad is not None for p in params]
        grads = [(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in params]
        flags = torch.tensor(there, dtype=grads[0].dtype, device=grads[0].device)
        first = torch.as_tensor(loss, dtype=flags.dtype, device=flags.device).reshape(1)
        flat = torch.cat([first, flags, *grads])
        total, flags, *grads = self.summed(flat if (weight := self.weight(size)) else weight * flat).split(
            [1, len(params), *map(len, grads)]
        )
        others = [True] * len(params) if all(there) else flags.tolist()  # a GPU is asked only where it matters
        for p, has_gradient, grad in zip(params, others, grads, strict=True):
            p.grad = grad.view_as(p).to(p.dtype) if has_gradient else None
        return total.squeeze()


def _params() -> list[Tensor]:
    """Those of the store, unconstrained, in the order of their names."""
    return [p for _, p in sorted(pyro.get_param_store().named_parameters())]


ALONE = Share()


def share_of(distributed: bool, *, seed: int | None, loader: bool) -> Share:
    """The share of this process among those of ``torch.distributed``.

    Raises:
        ValueError: there are none, or what they would train on would not be the same.
    """
    if not distributed:
        return ALONE
    if not (dist.is_available() and dist.is_initialized()):
        raise ValueError(
            "Expected the processes of torch.distributed with distributed=True; got none. Start the script by torchrun "
            "and call torch.distributed.init_process_group() first."
        )
    share = Share(dist.get_rank(), dist.get_world_size())
    if share.count > 1 and seed is None:
        raise ValueError(
            "Expected a seed with distributed=True, for the same random numbers in each process; got None."
        )
    if share.count > 1 and loader:
        raise ValueError(
            "Expected arrays or a data set with distributed=True, whose order is the same in each process; got a "
            "loader. Give its data set."
        )
    return share


@contextlib.contextmanager
def _together() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostProcess(
            "Expected all processes of the training until its end; one has ended, and says itself why if it could."
        ) from error


def check_shares(
    elbo: ELBO, pair: tuple[Callee, Callee], batch_of: Callable[[Any], Points], taken: Any, share: Share
) -> None:
    """Compare loss, gradients, buffers and random numbers of a batch with those of its shares, all in this process.

    Args:
        pair: in the modes of training.
        taken: what a step takes.
        share: any of the shares.

    Raises:
        ValueError: they are not those of the whole batch, so that several processes would train another thing.
    """
    size = len(taken)
    whole = _run(elbo, pair, batch_of, taken, ALONE)
    parts = [_run(elbo, pair, batch_of, taken, Share(rank, share.count)) for rank in range(share.count)]
    kinds = f"{size} data points over {share.count} processes"
    if not all(torch.equal(whole[2], part[2]) for part in parts):
        raise ValueError(
            f"Expected random numbers that are drawn by data point, to share out {kinds}; got some that are drawn by "
            f"rejection (gamma, Dirichlet, von Mises-Fisher, Poisson). Train in one process."
        )
    for name, of in (("loss", 0), ("gradient", 1), ("buffers", 3)):
        if name == "buffers":
            same = all(torch.allclose(whole[3], part[3], rtol=TOLERANCE, equal_nan=True) for part in parts)
        else:
            found = torch.stack([part[of] * Share(rank, share.count).weight(size) for rank, part in enumerate(parts)])
            norm = torch.linalg.vector_norm(whole[of])
            same = bool(torch.linalg.vector_norm(found.sum(0) - whole[of]) <= TOLERANCE * norm.clamp(min=1e-3))
        if not same:
            raise ValueError(
                f"Expected a pair and an objective whose {name} is a sum over data points, to share out {kinds}; got "
                f"one whose is not. Batch norm, and whatever else looks at the other data points of its batch, is "
                f"trained in one process; layer norm and group norm look at one."
            )


def _run(
    elbo: ELBO, pair: tuple[Callee, Callee], batch_of: Callable[[Any], Points], taken: Any, share: Share
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Loss, gradient, state of the random streams, and buffers after a share of a batch."""
    with trying(*pair), torch.enable_grad():
        with share.drawing(len(taken)):
            loss = elbo.loss_and_grads(*pair, batch_of(taken[share.rows(len(taken))]))
        params = _params()
        grads = torch.cat(
            [(torch.zeros_like(p) if p.grad is None else p.grad).flatten().double().cpu() for p in params]
        )
        for p in params:
            p.grad = None
        on_gpu = [torch.cuda.get_rng_state(p.device) for p in params[:1] if p.is_cuda]
        modules = modules_of(*pair).values()
        buffers = [b.detach().flatten().double().cpu() for module in modules for b in module.buffers()]
        streams = torch.cat([torch.random.get_rng_state(), *on_gpu])
        return torch.tensor([float(loss)]).double(), grads, streams, torch.cat(buffers) if buffers else torch.zeros(0)
