"""Lossy compression: what the model makes of a rounded code in place of the data."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..arguments.positive import positive
from ..output.progress import progress_bar
from ..pairs.modules import Callee
from . import container
from .bits_back import BitsBack, coding
from .container import Content
from .elementary import Floats
from .lossless import LOOKED_AT, as_values, checksum, code_of, new_stack
from .pixel_values import DTYPES, levels_of, values_of
from .stack import Stack

OCTAVE = [1.0, 1.189207115002721, 1.4142135623730951, 1.681792830507429]  # 2^0, 2^(1/4), 2^(1/2), 2^(3/4)


def compress_lossy(
    model: Callee,
    guide: Callee,
    x: Tensor | NDArray[Any],
    *,
    step: float = 1.0,
    event_shape: tuple[int, ...] | None = None,
    progress: bool = True,
) -> bytes:
    """Data as few bytes, from which `decompress_lossy` gets back what the model makes of their codes.

    The code of x, the mean of q(z|x), is rounded to a grid and written with the probabilities of the prior; what comes
    back is the mean of p(x|z), rounded to a level of x. Variables are rounded as coarsely as the guide is uncertain of
    them: one that says nothing costs next to nothing. Compressed together, data share the header.

    Args:
        model, guide, x, event_shape, progress: as of `compress`.
        step: of the grid, in mean scales of q(z|x) over the data: 1 loses little beyond what a code loses anyway, more
            makes files smaller.

    Raises:
        ImportError, ValueError: as in `compress`; a step that is not positive.

    Reference:
        Balle, Laparra, Simoncelli 2017, "End-to-end optimized image compression" (there the prior is trained for the
        rounded code).

    Example:
        >>> from pyro_vae import MLP, VAE, Bernoulli, GaussianEncoder, StandardNormal
        >>> likelihood = Bernoulli((2, 2))
        >>> vae = VAE(StandardNormal(3), GaussianEncoder((2, 2), 3), MLP(3, (2, 2)), likelihood)
        >>> file = compress_lossy(vae.model, vae.guide, torch.eye(2).expand(50, 2, 2))
        >>> decompress_lossy(vae.model, vae.guide, file).shape
        torch.Size([50, 2, 2])
    """
    positive(step=step)
    values, shape = as_values(x, event_shape)
    stack = new_stack(0)
    with coding(model, guide), progress_bar(2 * len(values), unit="pass", shown=progress) as bar:
        code = BitsBack(model, guide, shape, rounded=True)
        levels, form = levels_of(values, len(code.levels))
        levels = levels.reshape(-1, *shape)
        looked = code.look(code.values(levels[:LOOKED_AT]))
        scales = np.concatenate([c.scale.reshape(-1, c.scale.shape[-1]).mean(0) for c in looked.values()])
        exponents = np.rint(4 * np.log2(step * scales)).clip(-128, 127).astype(int).tolist()
        code.set_steps(_steps(exponents))
        code.encode(stack, levels, bar)
        fingerprint = code.fingerprint()
        found = code.decode(Stack(stack.words), len(levels), bar)
    restored = values_of(found.reshape(values.shape), len(code.levels), values.dtype.name, form)
    kind, dtype = container.LOSSY, DTYPES.index(values.dtype.name)
    content = Content(kind, dtype, form, values.shape, shape, exponents, fingerprint, checksum(restored), stack.words)
    return container.pack(content)


def decompress_lossy(model: Callee, guide: Callee, file: bytes, *, progress: bool = True) -> Tensor:
    """What the model makes of the codes in a file of `compress_lossy`, in shape and type of the data.

    Raises:
        ImportError, ValueError: as in `decompress`.
    """
    content = container.unpack(file, container.LOSSY)
    count = content.shape[0]
    with coding(model, guide), progress_bar(count, unit="data point", shown=progress) as bar:
        code = code_of(model, guide, content, _steps(content.exponents))
        levels = code.decode(Stack(content.words), count, bar).reshape(content.shape)
    found = values_of(levels, len(code.levels), DTYPES[content.dtype], content.form)
    if checksum(found) != content.checksum:
        raise ValueError("Expected what the data came back as where they were compressed; got something else.")
    return torch.from_numpy(found)


def _steps(exponents: list[int]) -> Floats:
    """2^(e / 4) for each, from constants and exact powers."""
    e = np.array(exponents)
    return np.ldexp(np.array(OCTAVE)[e % 4], e // 4)
