"""Bits-back coding with any model/guide pair: its sites are run as they are, their values put on the stack or drawn."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyro
import torch
from pyro.poutine.messenger import Messenger
from torch import Tensor

from ..output.progress import Progress
from ..pairs.contexts import evaluating, unvalidated
from ..pairs.modules import Callee, modules_of
from ..pairs.sites import counts
from ..pairs.state import get_state
from .container import DIGEST
from .elementary import Floats
from .latent_grid import Coder, coder_of
from .pixels import Pixels, pixels_of
from .reproducible import reproducible
from .stack import Stack, Whole

LARGEST_BATCH = 64
FARTHEST_CODE = 1 << 21  # steps from 0


class Sites(Messenger):
    """Gives the sites of a model or a guide the values that ``choose(name, fn, is_observed)`` says."""

    def __init__(self, choose: Callable[[str, Any, bool], Tensor]) -> None:
        super().__init__()
        self.choose = choose

    def _pyro_sample(self, msg: Any) -> None:
        if not counts(msg):
            return
        if msg["mask"] is not None or not (isinstance(msg["scale"], (int, float)) and msg["scale"] == 1):
            raise ValueError(
                f"Expected sites without a mask or a scale; got one at {msg['name']!r}. Data with missing values are "
                f"not compressed."
            )
        msg["value"] = self.choose(msg["name"], msg["fn"], msg["is_observed"])
        msg["done"] = True


class BitsBack:
    """A pair as a code for its data, chained over batches of them.

    For each batch the encoder draws z ~ q(z|x) with bits that are on the stack, puts on x by p(x|z) and z by p(z):
    -log p(x|z) - log p(z) + log q(z|x), on average the negative ELBO. The decoder takes off z and x, and puts back what
    had drawn z.

    Rounded codes alone go the same way, without x: the points of the grid next to the middle of q(z|x), by p(z). The
    decoder makes of them the levels next to the mean of p(x|z).

    Args:
        model, guide: the pair, run with one tensor.
        event_shape: of one x.
        rounded: whether rounded codes are all that is coded.

    Attributes:
        levels: the values that x can have.
        sites: names of the latent sites, in the guide's order, and how many variables each has.
        steps: of each latent site's grid; `set_steps` is to be called before anything is coded.

    Raises:
        ValueError: a pair that cannot be coded in this way.
    """

    def __init__(self, model: Callee, guide: Callee, event_shape: tuple[int, ...], *, rounded: bool = False) -> None:
        self.model, self.guide, self.event_shape, self.rounded = model, guide, event_shape, rounded
        self.levels = np.zeros(0)
        self.steps: dict[str, Floats] = {}
        looked = self.look(torch.zeros(1, *event_shape))
        self.sites = {name: coder.loc.shape[-1] for name, coder in looked.items()}

    def set_steps(self, steps: Floats) -> None:
        """Set the steps of the latents' grid: one for each site, or one for each variable of all sites."""
        sizes = [*self.sites.values()] if len(steps) != len(self.sites) else [1] * len(self.sites)
        if len(steps) != sum(sizes):
            raise ValueError(f"Expected a pair of {len(steps)} latent sites or variables; got {len(self.sites)} sites.")
        self.steps = dict(zip(self.sites, np.split(steps, np.cumsum(sizes)[:-1]), strict=True))

    def look(self, x: Tensor) -> dict[str, Coder]:
        """The coders that the guide's latent sites have for x, on a grid with step 1; checks the model's sites."""
        coders: dict[str, Coder] = {}
        values: dict[str, Tensor] = {}

        def in_guide(name: str, fn: Any, _: bool) -> Tensor:
            coders[name] = coder_of(name, fn, len(x), 1.0)
            values[name] = torch.from_numpy(coders[name].middle).to(torch.get_default_dtype()).reshape(fn.shape())
            return values[name]

        found: list[str] = []

        def in_model(name: str, fn: Any, is_observed: bool) -> Tensor:
            if not is_observed:
                unused.discard(name)
                if name not in values:
                    raise ValueError(
                        f"Expected latent sites that are also in the guide; got {name!r} in the model alone. Sites "
                        f"that are summed out cannot be drawn."
                    )
                coder_of(name, fn, len(x), 1.0)
                return values[name]
            if tuple(fn.event_shape) != self.event_shape or found:
                raise ValueError(
                    f"Expected one observed site, of event shape {self.event_shape} as each x; got "
                    f"{[*found, name]}, {name!r} of {tuple(fn.event_shape)}."
                )
            found.append(name)
            self.levels = pixels_of(name, fn, len(x)).levels
            return x

        with Sites(in_guide):
            self.guide(x)
        unused = set(values)
        with Sites(in_model):
            self.model(torch.zeros_like(x))
        if not found or unused:
            raise ValueError(
                f"Expected a model that observes x and has the latent sites of its guide, {sorted(values)}; got one "
                f"without {'an observed site' if not found else sorted(unused)}."
            )
        return coders

    def encode(self, stack: Stack, levels: Whole, bar: Progress) -> None:
        """Put on data, given by their levels (N, *event_shape)."""
        for symbols in np.split(levels, np.cumsum(batches(len(levels)))[:-1]):
            self._encode(stack, symbols)
            bar.update(len(symbols))

    def _encode(self, stack: Stack, symbols: Whole) -> None:
        x = self.values(symbols)
        nothing = torch.zeros_like(x)

        def drawn(name: str, coder: Coder) -> Whole:
            return self.nearest(name, coder, FARTHEST_CODE) if self.rounded else coder.pop(stack)

        _, points, given = self.run_guide(x, drawn)

        def in_model(name: str, fn: Any, is_observed: bool) -> Tensor:
            if is_observed and self.rounded:
                return nothing
            if is_observed:
                coders.append((pixels_of(name, fn, len(x)), symbols.reshape(len(x), -1)))
                return x
            coders.append((coder_of(name, fn, len(x), self.steps[name]), points[name]))
            return given[name]

        coders: list[tuple[Coder | Pixels, Whole]] = []
        with Sites(in_model):
            self.model(nothing)
        for coder, values in reversed(coders):
            coder.push(stack, values)

    def decode(self, stack: Stack, count: int, bar: Progress) -> Whole:
        """Take off so many data: their levels (N, *event_shape)."""
        parts = []
        for size in reversed(batches(count)):
            parts.append(self._decode(stack, size))
            bar.update(size)
        return np.concatenate(parts[::-1])

    def _decode(self, stack: Stack, count: int) -> Whole:
        points: dict[str, Whole] = {}
        symbols: list[Whole] = []
        nothing = torch.zeros(count, *self.event_shape)

        def in_model(name: str, fn: Any, is_observed: bool) -> Tensor:
            if is_observed:
                pixels = pixels_of(name, fn, count)
                found = self.nearest_levels(pixels) if self.rounded else pixels.pop(stack)
                symbols.append(found.reshape(count, *self.event_shape))
                return nothing if self.rounded else self.values(symbols[0])
            points[name] = coder_of(name, fn, count, self.steps[name]).pop(stack)
            return self.on_grid(name, points[name], fn)

        with Sites(in_model):
            self.model(nothing)
        if self.rounded:
            return symbols[0]
        coders, _, _ = self.run_guide(self.values(symbols[0]), lambda name, coder: points[name])
        for name, coder in reversed(coders):
            coder.push(stack, points[name])
        return symbols[0]

    def run_guide(
        self, x: Tensor, points_of: Callable[[str, Coder], Whole]
    ) -> tuple[list[tuple[str, Coder]], dict[str, Whole], dict[str, Tensor]]:
        """Run the guide: its coders in their order, points of the grid at its sites, and their values."""
        coders: list[tuple[str, Coder]] = []
        points: dict[str, Whole] = {}
        values: dict[str, Tensor] = {}

        def choose(name: str, fn: Any, _: bool) -> Tensor:
            coder = coder_of(name, fn, len(x), self.steps[name])
            coders.append((name, coder))
            points[name] = points_of(name, coder)
            values[name] = self.on_grid(name, points[name], fn)
            return values[name]

        with Sites(choose):
            self.guide(x)
        return coders, points, values

    def nearest(self, name: str, coder: Coder, farthest: float) -> Whole:
        """The points of a latent site's grid next to the middle of its distribution."""
        return np.rint(coder.middle / self.steps[name]).clip(-farthest, farthest).astype(np.int64)

    def nearest_levels(self, pixels: Pixels) -> Whole:
        """The levels next to the means of values."""
        return np.rint(pixels.mean() / self.levels[-1] * (len(self.levels) - 1)).astype(np.int64)

    def on_grid(self, name: str, points: Whole, fn: Any) -> Tensor:
        """What points of a latent site's grid stand for, as the pair takes them."""
        values = torch.from_numpy(points * self.steps[name]).to(torch.get_default_dtype())
        return values.reshape(*fn.batch_shape, *fn.event_shape)

    def values(self, symbols: Whole) -> Tensor:
        """What the levels of data stand for, as the pair takes them."""
        return torch.from_numpy(self.levels[symbols]).to(torch.get_default_dtype())

    def fingerprint(self) -> bytes:
        """A digest of the weights, and of what the pair computes: another version of it, or of torch, is noticed."""
        digest = hashlib.blake2b(digest_size=DIGEST)
        state = get_state(modules_of(self.model, self.guide), pyro.get_param_store())
        for name, tensor in sorted(state.items()):
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.contiguous().numpy().tobytes())
        count = 2 * int(np.prod(self.event_shape))
        symbols = (np.arange(count) * 7919 % 104729 % len(self.levels)).reshape(2, *self.event_shape)
        coders, _, given = self.run_guide(self.values(symbols), lambda name, coder: self.nearest(name, coder, 1e6))
        of_guide = [p for _, coder in coders for p in coder.parameters]

        def in_model(name: str, fn: Any, is_observed: bool) -> Tensor:
            coder = pixels_of(name, fn, 2) if is_observed else coder_of(name, fn, 2, self.steps[name])
            of_model.extend([coder.parameters] if isinstance(coder, Pixels) else coder.parameters)
            return self.values(symbols) if is_observed else given[name]

        of_model: list[Any] = []
        with Sites(in_model):
            self.model(torch.zeros(2, *self.event_shape))
        for parameters in [*of_guide, *of_model]:
            digest.update(np.ascontiguousarray(parameters).tobytes())
        return digest.digest()


@contextmanager
def coding(model: Callee, guide: Callee) -> Iterator[None]:
    """What a pair is coded in: evaluation mode and operations that give the same bits on every machine."""
    with evaluating(model, guide), unvalidated(), reproducible():
        yield


def batches(count: int) -> list[int]:
    """The sizes of batches: as large as the bits of those before allow, so that few are needed to start with."""
    sizes: list[int] = []
    done = 0
    while done < count:
        sizes.append(min(max(1, done // 2), LARGEST_BATCH, count - done))
        done += sizes[-1]
    return sizes
