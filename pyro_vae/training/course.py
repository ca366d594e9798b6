"""The course of a training: all that changes from step to step, to be copied and put back exactly."""

from __future__ import annotations

import contextlib
import math
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyro
import torch
from torch import Tensor, nn

from ..compiled.python_state import PythonState
from ..disk.packing import packed
from ..objectives.kl_weights import KLWeight
from ..pairs.modules import Callee
from ..pairs.state import get_state, set_state, with_store
from .fitted import Fit, Metrics
from .sameness import comparable, require_equal
from .selection import BestState
from .steps import Steps

FORM: dict[str, type] = {"history": list, "stopped": bool, "steps": int, "full_steps": int}  # of a state
FORM |= dict.fromkeys(("best", "pair", "buffers", "optimizer", "made", "random"), dict)
TOLERANCE = 1e-3  # of an ELBO, relative: another machine rounds in another way


@dataclass
class Course:
    """All that changes while a pair is trained.

    Attributes:
        modules: those of the pair; all else that is trained is in the present param store.
        steps: takes them, with their optimizer.
        best: the best state so far.
        history: of the epochs that are over.
        stopped: whether ``on_step`` has ended the training.
        summed_over: names of the sites that the objective sums over.
    """

    modules: dict[str, nn.Module]
    steps: Steps
    best: BestState
    history: list[Metrics] = field(default_factory=list)
    stopped: bool = False
    summed_over: tuple[str, ...] = ()
    _python: PythonState | None = None

    def watch_python(self) -> None:
        """Note what the pair holds in Python, for `warn_of_python`."""
        self._python = PythonState(self.steps.plain, self.modules.values())

    def warn_of_python(self) -> None:
        """Warn of numbers, flags and words in Python that the steps have changed, since `state` does not hold them."""
        places = [] if self._python is None else self._python.changed()
        changed = [place.name for place in places if place.is_plain() and place.key is not len]
        if changed:
            warnings.warn(
                f"The pair changes {', '.join(changed[:5])} in Python while it is trained, which no checkpoint holds: "
                f"a training that goes on begins with the first value. Hold it in a buffer (register_buffer) if it "
                f"decides what is computed.",
                stacklevel=4,
            )

    def is_over(self, epochs: int, patience: int | None) -> bool:
        """Whether there is no further epoch."""
        waited_enough = patience is not None and self.best.waited >= patience
        return self.stopped or len(self.history) >= epochs or waited_enough

    def result(self, model: Callee, guide: Callee, epochs: int) -> Fit:
        """What happened so far, of so many epochs asked for; the pair is left in its best state."""
        store, best = pyro.get_param_store(), self.best
        set_state(self.modules, store, best.state)
        pair = with_store(model, guide, store.get_state())
        early = self.stopped or len(self.history) < epochs
        return Fit(*pair, self.history, best.state, best.epoch, early, best.warmed_up, self.summed_over)

    def state(self) -> dict[str, Any]:
        """A copy of all that later steps depend on."""
        optimizer = self.steps.optimizer
        return {
            "history": [*self.history],
            "stopped": self.stopped,
            "steps": self.steps.taken,
            "full_steps": self.steps.full_taken,
            "best": self.best.get_state(len(self.history)),
            "pair": get_state(self.modules, pyro.get_param_store()),
            "buffers": {name: buffer.clone() for name, buffer in self._unsaved_buffers().items()},
            "optimizer": optimizer.get_state(),
            "made": comparable(optimizer.as_made),
            "random": _random_state(),
        }

    def go_on(
        self, state: dict[str, Any], batches: Iterable[Any], kl_weight: KLWeight, validated: Callable[[], Any]
    ) -> None:
        """Continue from a state, as the process would have done that saved it.

        That process had taken its first step plainly, with which parameters are made, and recorded its second one. So
        these are taken here too, as far as it had come, and undone by the state: what follows is computed alike.

        Args:
            state: of `state`.
            batches: what the steps of a first epoch take.
            validated: gives what `validate` does for the pair as it is now: whether it computes what it did.

        Raises:
            ValueError: it is the state of another pair, optimizer or scheduler.
        """
        for batch in self._first(batches, state["full_steps"]):
            kl_weight.set(self.steps.taken)
            self.steps.take(batch)
            self.steps.read()
        with _told(state):
            self._require_same(state)
        self._require_finite(state)
        set_state(self.modules, pyro.get_param_store(), state["pair"])
        for name, buffer in self._unsaved_buffers().items():
            buffer.copy_(state["buffers"][name])
        _require_same_elbo(state["history"][-1], validated()[0])
        self.steps.taken, self.steps.full_taken = state["steps"], state["full_steps"]
        self.history[:], self.stopped = state["history"], state["stopped"]
        with _told(state):
            self.steps.optimizer.set_state(state["optimizer"])
            self.best.set_state(state["best"])
            _set_random_state(state["random"], of_the_first=self.steps.share.count > 1)

    def _first(self, batches: Iterable[Any], full_steps: int) -> list[Any]:
        """Full batches for as many of so many steps as are taken before all is recorded; at least one, of any size."""
        found, full = [], list[Any]()
        for batch in batches:
            found.append(batch)
            full += [batch] if len(batch) == self.steps.full_batch else []
            if len(full) >= min(2, full_steps):
                break
        return (2 * full)[: min(2, full_steps)] or found[:1]

    def _require_same(self, state: dict[str, Any]) -> None:
        mine, theirs = self.state(), state
        if differing := sorted({name for name, *_ in _kinds(mine) ^ _kinds(theirs)}):
            raise ValueError(
                f"Expected a pair and an optimizer with the tensors of the checkpoint; names, types or shapes differ: "
                f"{', '.join(differing[:5])}. Make them as they were, or use another folder."
            )
        require_equal(theirs["made"], mine["made"])

    def _require_finite(self, state: dict[str, Any]) -> None:
        """Raise a ValueError if parameters in a state hold NaN or infinite numbers, with which no training goes on."""
        held = (f"{name}.{key}" for name, module in self.modules.items() for key, _ in module.named_parameters())
        names = [*held, *(name for name in state["pair"] if name.startswith("param."))]
        if wrong := [name for name in names if name in state["pair"] and not state["pair"][name].isfinite().all()]:
            raise ValueError(
                f"Expected finite parameters in the checkpoint; got NaN or infinite ones in {', '.join(wrong[:5])}. "
                f"{_without(state)}"
            )

    def _unsaved_buffers(self) -> dict[str, Tensor]:
        """Buffers that are no part of a module's state_dict."""
        return {
            f"{name}.{key}": buffer
            for name, module in self.modules.items()
            for key, buffer in module.named_buffers()
            if key not in module.state_dict()
        }


@contextlib.contextmanager
def _told(state: dict[str, Any]) -> Iterator[None]:
    """What goes wrong inside is the fault of a state that is not as it was saved."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, RuntimeError, OverflowError) as error:
        raise ValueError(
            f"Expected the checkpoint to hold the state of this training; got {type(error).__name__}: {error}. "
            f"{_without(state)}"
        ) from error


def _without(state: dict[str, Any]) -> str:
    return f"Remove checkpoint-{len(state['history']):08d}.json to go on from the one before."


def _require_same_elbo(before: Metrics, now: Metrics) -> None:
    """Raise a ValueError unless a pair that was put back has the validation ELBO that was recorded."""
    name = "validation_elbo"
    if name in now and math.isfinite(now[name]) and not math.isclose(before[name], now[name], rel_tol=TOLERANCE):
        raise ValueError(
            f"Expected the validation ELBO of the checkpoint, {before[name]:.6g} nats per data point; got "
            f"{now[name]:.6g}: model or guide compute something else than they did. Go on with the same code, or begin "
            f"anew in another folder."
        )


def _kinds(state: dict[str, Any]) -> set[tuple[str, torch.dtype, torch.Size]]:
    """Names, types and shapes of what a pair and its optimizer keep."""
    tensors: dict[str, Tensor] = {}
    kept = {"pair": state["pair"], "buffers": state["buffers"], "optimizer": state["optimizer"]["parameters"]}
    packed(kept, tensors)
    return {(name.partition("/")[2].replace("$$$", "."), t.dtype, t.shape) for name, t in tensors.items()}


def _random_state() -> dict[str, Any]:
    """Where the random streams of the process are: torch's, Python's, NumPy's, and those of GPUs that are in use."""
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {**pyro.util.get_rng_state(), "gpus": gpus}


def _set_random_state(state: dict[str, Any], *, of_the_first: bool) -> None:
    """Put the streams back; several processes go on with that of the first one's GPU, each on its own."""
    pyro.util.set_rng_state(state)
    if state["gpus"] and torch.cuda.is_initialized():
        count = torch.cuda.device_count()
        torch.cuda.set_rng_state_all([state["gpus"][0]] * count if of_the_first else state["gpus"][:count])
