"""Sums of products are exact, in whatever order they are taken."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pyro_vae.compression import exact_sums

VALUES = st.floats(-1e6, 1e6, allow_subnormal=False)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(arrays(np.float64, (2, 37), elements=VALUES), arrays(np.float64, (37, 3), elements=VALUES), st.randoms())
def test_products_are_those_of_the_rounded_factors_in_any_order(a, b, random):
    found = exact_sums.matmul(a, b)
    order = random.sample(range(37), 37)
    assert exact_sums.matmul(a[:, order], b[order]).tobytes() == found.tobytes()
    free = exact_sums.BITS - 6
    rows, row_units = exact_sums.whole(a, free // 2, -1)
    columns, column_units = exact_sums.whole(b, free - free // 2, -2)
    total = sum(Fraction(rows[1, k]) * Fraction(columns[k, 2]) for k in range(37))  # in whole numbers of any length
    assert Fraction(found[1, 2]) == total * Fraction(row_units[1, 0]) * Fraction(column_units[0, 2])
    scale = 37 * np.abs(a).max(-1, keepdims=True) * np.abs(b).max(-2, keepdims=True)
    assert (np.abs(found - a @ b) <= 2.0**-21 * scale + 1e-190).all()


def test_rows_do_not_depend_on_each_other():
    a, b = np.random.default_rng(0).normal(size=(5, 100)), np.random.default_rng(1).normal(size=(100, 4))
    a[0] *= 1e8
    assert (exact_sums.matmul(a, b)[1:] == exact_sums.matmul(a[1:], b)).all()


@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions(transposed):
    x, weight = torch.randn(3, 4, 9, 8).double().numpy(), torch.randn(4, 4, 3, 3).double().numpy()
    rest = ([2, 2], [1, 1], [1, 1], transposed, [1, 1] if transposed else [0, 0], 1)
    found = exact_sums.convolution(x, weight, rest, spatial=2)
    truth = torch.convolution(torch.from_numpy(x), torch.from_numpy(weight), None, *rest).numpy()
    assert np.abs(found - truth).max() < 1e-4
    assert (exact_sums.convolution(x[1:], weight, rest, spatial=2) == found[1:]).all()
    turned = weight[::-1] if transposed else weight[:, ::-1]
    assert (
        exact_sums.convolution(x[:, ::-1].copy(), turned.copy(), rest, spatial=2) == found
    ).all()  # the channels added up in the other order


def test_sums():
    x = np.random.default_rng(0).normal(size=(4, 1000)) * 10.0 ** np.arange(-4, 0)[:, None]
    found = exact_sums.total(x, (1,), False)
    assert (exact_sums.total(x[:, ::-1], (1,), False) == found).all()
    np.testing.assert_allclose(found, x.sum(1), rtol=1e-9)
    np.testing.assert_allclose(exact_sums.running_total(x, 1), x.cumsum(1), rtol=1e-6, atol=1e-9)


def test_what_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="Expected finite numbers"):
        exact_sums.matmul(np.array([[np.inf]]), np.ones((1, 1)))
