"""Lossless compression of data with a trained pair."""

from __future__ import annotations

import math
import operator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..output.progress import progress_bar
from ..pairs.modules import Callee
from . import container
from .bits_back import BitsBack, coding
from .container import Content
from .elementary import Floats
from .latent_grid import step_exponent
from .pixel_values import DTYPES, levels_of, values_of
from .stack import LEAST, Stack, Words

LOOKED_AT = 256  # data points from which the steps of the latents' grid are found


def compress(
    model: Callee,
    guide: Callee,
    x: Tensor | NDArray[Any],
    *,
    event_shape: tuple[int, ...] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> bytes:
    """Data as bytes from which `decompress` gets back exactly the same, by bits-back coding with a trained pair.

    The size is the negative ELBO of the data in bits, and some 100 bytes that a file costs. With one pair it is smaller
    the more data are compressed together. The pair and its parameters are not in it: the same ones must be there to
    decompress. See the guide to compression for what is promised about other machines.

    Args:
        model, guide: the pair, on the CPU; x of finitely many levels (Bernoulli, Categorical, Binomial, discretized),
            Gaussian or Laplace latents or mixtures of Gaussians, on any number of levels.
        x: data (N, ...): whole numbers 0, ..., K - 1, or k / (K - 1) of any float type.
        event_shape: shape of one x as the pair takes it, if not x.shape[1:].
        seed: of the bits that the first latents are drawn with.
        progress: show a progress bar on standard error, if it takes longer than two seconds.

    Raises:
        ImportError: constriction is not installed.
        ValueError: data that are none of the likelihood's levels, a pair with other likelihoods or latents, or with
            operations that cannot be made the same on every machine.

    Reference:
        Townsend, Bird, Barber 2019, "Practical lossless compression with latent variables using bits back coding".

    Example:
        >>> from pyro_vae import MLP, VAE, Bernoulli, GaussianEncoder, StandardNormal
        >>> likelihood = Bernoulli((2, 2))
        >>> vae = VAE(StandardNormal(3), GaussianEncoder((2, 2), 3), MLP(3, (2, 2)), likelihood)
        >>> x = torch.eye(2).expand(50, 2, 2)
        >>> file = compress(vae.model, vae.guide, x)
        >>> torch.equal(decompress(vae.model, vae.guide, file), x)
        True
    """
    values, shape = as_values(x, event_shape)
    stack = new_stack(seed)
    with coding(model, guide), progress_bar(len(values), unit="data point", shown=progress) as bar:
        code = BitsBack(model, guide, shape)
        levels, form = levels_of(values, len(code.levels))
        levels = levels.reshape(-1, *shape)
        looked = code.look(code.values(levels[:LOOKED_AT]))
        exponents = [step_exponent(coder) for coder in looked.values()]
        code.set_steps(np.ldexp(1.0, exponents))
        code.encode(stack, levels, bar)
        fingerprint = code.fingerprint()
    kind, dtype = container.LOSSLESS, DTYPES.index(values.dtype.name)
    content = Content(kind, dtype, form, values.shape, shape, exponents, fingerprint, checksum(values), stack.words)
    return container.pack(content)


def decompress(model: Callee, guide: Callee, file: bytes, *, progress: bool = True) -> Tensor:
    """The data that `compress` was given, in shape, type and every bit.

    Raises:
        ImportError: constriction is not installed.
        ValueError: no file of compress, a damaged one, one that another pair or another version of it has written, or
            data that are not what was compressed.
    """
    content = container.unpack(file, container.LOSSLESS)
    count = content.shape[0]
    with coding(model, guide), progress_bar(count, unit="data point", shown=progress) as bar:
        code = code_of(model, guide, content, np.ldexp(1.0, content.exponents))
        levels = code.decode(Stack(content.words), count, bar).reshape(content.shape)
    found = values_of(levels, len(code.levels), DTYPES[content.dtype], content.form)
    if checksum(found) != content.checksum:
        raise ValueError(
            "Expected the data that were compressed; their checksum is another. The pair computes something else here "
            "than where the file was written."
        )
    return torch.from_numpy(found)


def as_values(x: Any, event_shape: tuple[int, ...] | None) -> tuple[NDArray[Any], tuple[int, ...]]:
    """Data as an array, and the shape of one of them as the pair takes it."""
    values: NDArray[Any] = np.ascontiguousarray(x.detach().cpu().numpy() if isinstance(x, Tensor) else x)
    if not values.ndim or not values.size:
        raise ValueError(f"Expected at least one data point, (N, ...); got the shape {values.shape}.")
    given = values.shape[1:]
    shape = tuple(given if event_shape is None else event_shape)
    without_ones = ([size for size in each if size != 1] for each in (given, shape))
    is_flat = len(given) == 1 or len(shape) <= 1
    if math.prod(shape) != math.prod(given) or not (is_flat or operator.eq(*without_ones)):
        raise ValueError(
            f"Expected data points of shape {shape}, as the pair takes them, with or without dimensions of 1, or flat; "
            f"got {given}. Colours stand first: move them with np.moveaxis(x, -1, 1)."
        )
    return values, shape


def code_of(model: Callee, guide: Callee, content: Content, steps: Floats) -> BitsBack:
    """The code that a file was written with, with the steps of its grid; refused where the pair is another one."""
    try:
        code = BitsBack(model, guide, content.event_shape, rounded=content.kind == container.LOSSY)
        code.set_steps(steps)
        is_same = code.fingerprint() == content.fingerprint
    except (ValueError, RuntimeError) as error:  # of shapes that do not fit, for instance
        if "constriction" in str(error):
            raise
        raise _another_pair(f" It says: {error}") from error
    if not is_same:
        raise _another_pair()
    return code


def _another_pair(detail: str = "") -> ValueError:
    return ValueError(
        "Expected the pair that the file was compressed with: the same weights, which compute the same numbers; got "
        f"another one, or another version of pyro-vae or torch.{detail}"
    )


def checksum(values: NDArray[Any]) -> bytes:
    """A digest of values, their type and shape."""
    return container.digest(f"{values.dtype.name} {values.shape} ".encode() + values.tobytes())


def new_stack(seed: int) -> Stack:
    """A stack of random words, none of them 0, which never ends."""
    generator = np.random.default_rng(seed)

    def fresh(count: int) -> Words:
        return generator.integers(1, 1 << 32, count, dtype=np.uint32)

    return Stack(fresh(LEAST), fresh)
