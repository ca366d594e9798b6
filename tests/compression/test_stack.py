"""The stack gives back what was put on, in any order of pushes and draws, and costs what it should."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyro_vae.compression.stack import LEAST, Stack


def fresh(count):
    return np.random.default_rng(1).integers(1, 1 << 32, count, dtype=np.uint32)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 30), st.integers(1, 300)), max_size=12), st.randoms())
def test_steps_taken_back_leave_what_was_there(steps, random):
    """A draw is taken back by putting it on, a push by taking it off; words that a draw needed stay."""
    rng = np.random.default_rng(random.randrange(2**32))
    stack, done = Stack(fresh(LEAST), fresh), []
    for is_push, count, size in steps:
        weights = rng.exponential(size=(count, size)) ** 8 * rng.integers(0, 2, (count, size))
        weights[:, 0] += 1e-30  # some have all their weight in one place
        symbols = rng.integers(0, size, count) if is_push else stack.pop(weights)
        if is_push:
            stack.push(symbols, weights)
        done.append((is_push, symbols, weights))
    decoder = Stack(stack.words)
    for is_push, symbols, weights in reversed(done):
        if is_push:
            assert decoder.pop(weights).tolist() == symbols.tolist()
        else:
            decoder.push(symbols, weights)
    words = decoder.words
    assert (words[-LEAST:] == fresh(LEAST)).all()
    assert (words[:-LEAST] == fresh(1)).all()  # one more each time that one was needed, always the same


def test_it_costs_what_the_probabilities_say():
    rng, stack = np.random.default_rng(0), Stack(fresh(LEAST))
    weights = rng.dirichlet(np.ones(17), 20_000)
    symbols = (weights.cumsum(-1) < rng.random((20_000, 1))).sum(-1).clip(0, 16)
    before = 32 * len(stack.words)
    stack.push(symbols, weights)
    cost = -np.log2(weights[np.arange(20_000), symbols]).sum()
    assert abs(32 * len(stack.words) - before - cost) < 64 + 1e-4 * cost


def test_draws_have_the_probabilities():
    weights = np.array([1.0, 2.0, 5.0])
    counts = np.bincount(
        Stack(np.random.default_rng(0).integers(1, 1 << 32, 4000, dtype=np.uint32)).pop(np.tile(weights, (40_000, 1))),
        minlength=3,
    )
    p = weights / weights.sum()
    assert (np.abs(counts - 40_000 * p) < 5 * np.sqrt(40_000 * p * (1 - p))).all()


def test_uniform_symbols():
    stack, sizes = Stack(fresh(LEAST)), np.array([1, 2, 1 << 23, 4])
    stack.push_uniform(np.array([0, 1, 8_000_000, 3]), sizes)
    assert stack.pop_uniform(sizes).tolist() == [0, 1, 8_000_000, 3]


def test_bits_that_are_not_there_are_an_error():
    with pytest.raises(ValueError, match="Expected as many bits as were put on"):
        Stack(fresh(LEAST)).pop(np.ones((100, 256)))


def test_without_the_coder_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(ImportError, match=r"pip install \"pyro-vae\[compression\]\""):
        Stack(fresh(LEAST))
