"""The stack of compressed bits: what was put on last comes off first. The coder is that of the package constriction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .elementary import Floats

Whole = NDArray[np.int64]
Words = NDArray[np.uint32]

BITS = 32  # of a word
DEAREST = 24  # bits that a symbol costs at most
LEAST = 4  # words that stay: the coder works on two, so that no others than those it started with are ever seen


class Stack:
    """Symbols on a stack of 32-bit words, by asymmetric numeral systems: each costs -log2 of its probability, in bits.

    Probabilities come as weights, float64, which the coder makes multiples of 2^-24, none of them 0, by operations that
    are rounded correctly. To take off a symbol that was not put on is to draw it, with the bits that are there.

    Args:
        words: what the stack starts with, the top last.
        fresh: makes words to put at the bottom where too few are left to draw from; None where that is an error.

    Raises:
        ImportError: constriction is not installed.

    Reference:
        Duda 2009, "Asymmetric numeral systems"; Bamler 2022, "Understanding entropy coding with asymmetric numeral
        systems (ANS): a statistician's perspective".

    Example:
        >>> stack = Stack(np.arange(1, 9, dtype=np.uint32))
        >>> weights = np.array([[0.25, 0.25, 0.5], [1.0, 1.0, 2.0]])
        >>> stack.push(np.array([2, 0]), weights)
        >>> stack.pop(weights)
        array([2, 0])
    """

    def __init__(self, words: Words, fresh: Callable[[int], Words] | None = None) -> None:
        try:
            import constriction
        except ImportError as error:
            raise ImportError(
                "Expected the package constriction, whose entropy coder compresses; it is not installed. "
                'pip install "pyro-vae[compression]", or constriction alone.'
            ) from error
        self._new: Any = constriction.stream.stack.AnsCoder
        self._categorical: Any = constriction.stream.model.Categorical(perfect=False)
        self._uniform: Any = constriction.stream.model.Uniform()
        self._coder: Any = self._new(words)
        self._fresh = fresh

    @property
    def words(self) -> Words:
        """The stack, the top last."""
        return self._coder.get_compressed()

    def push(self, symbols: Whole, weights: Floats) -> None:
        """Put on symbols (n,), each of the places 0, ..., m - 1 of its row of weights (n, m)."""
        if weights.size > len(weights):  # where there is no choice there is no symbol
            self._coder.encode_reverse(symbols.astype(np.int32), self._categorical, np.ascontiguousarray(weights))

    def pop(self, weights: Floats) -> Whole:
        """Take off symbols (n,), by their rows of weights (n, m)."""
        if weights.size <= len(weights):
            return np.zeros(len(weights), dtype=np.int64)
        return self._take(len(weights), self._categorical, np.ascontiguousarray(weights))

    def push_uniform(self, symbols: Whole, sizes: Whole) -> None:
        """Put on symbols (n,), about equally likely among sizes (n,), at most 2^23; exactly, for powers of two."""
        more = sizes > 1
        if more.any():
            self._coder.encode_reverse(symbols[more].astype(np.int32), self._uniform, sizes[more].astype(np.int32))

    def pop_uniform(self, sizes: Whole) -> Whole:
        """Take off symbols (n,), by their sizes (n,)."""
        found, more = np.zeros(sizes.shape, dtype=np.int64), sizes > 1
        found[more] = self._take(int(more.sum()), self._uniform, sizes[more].astype(np.int32))
        return found

    def _take(self, count: int, model: Any, parameters: Any) -> Whole:
        if not count:
            return np.zeros(0, dtype=np.int64)
        while True:
            is_enough = BITS * (self._coder.num_words() - LEAST) > DEAREST * count
            before = None if is_enough else self._coder.clone()
            found: Whole = self._coder.decode(model, parameters).astype(np.int64)
            if before is None or self._coder.num_words() >= LEAST:
                return found
            if self._fresh is None:
                raise ValueError("Expected as many bits as were put on; got fewer.")
            self._coder = self._new(np.concatenate([self._fresh(1), before.get_compressed()]))
