"""The functions made of sums and products, against SciPy's; distribution functions never fall."""

import numpy as np
import pytest
import scipy.special
import scipy.stats

from pyro_vae.compression import elementary

WIDE = np.concatenate([np.linspace(-700, 700, 20001), np.linspace(-2, 2, 20001), [0.0, 1e-300, -1e-9, 1e-9]])


@pytest.mark.parametrize(
    ("name", "truth", "x"),
    [
        ("exp", np.exp, WIDE),
        ("expm1", np.expm1, WIDE),
        ("log", np.log, np.exp(WIDE)),
        ("log1p", np.log1p, WIDE[WIDE > -1]),
        ("sigmoid", scipy.special.expit, WIDE),
        ("tanh", np.tanh, WIDE),
        ("softplus", lambda x: np.logaddexp(0, x), WIDE),
        ("erf", scipy.special.erf, WIDE),
    ],
)
def test_functions_are_right_to_their_last_digits_but_few(name, truth, x):
    np.testing.assert_allclose(getattr(elementary, name)(x), truth(x), rtol=2e-12, atol=1e-300)


def test_what_is_not_finite():
    with np.errstate(all="ignore"):
        assert elementary.exp(np.array([-np.inf, np.inf])).tolist() == [0.0, np.inf]
        found = elementary.log(np.array([0.0, np.inf, -1.0]))
    assert found[:2].tolist() == [-np.inf, np.inf]
    assert np.isnan(found[2])


@pytest.mark.parametrize("family", ["normal", "logistic", "laplace"])
def test_distribution_functions(family):
    truth = {"normal": scipy.stats.norm, "logistic": scipy.stats.logistic, "laplace": scipy.stats.laplace}[family]
    t = np.sort(np.concatenate([np.linspace(-40, 40, 200001), np.random.default_rng(0).normal(size=100_000)]))
    found = elementary.cdf(family, t)
    assert np.abs(found - truth.cdf(t)).max() < 2e-6
    assert (np.diff(found) >= 0).all()  # also between neighbouring cells of the table
    assert found[0] == 0.0
    assert found[-1] == 1.0
    close = np.nextafter(t[::100], np.inf)
    assert (elementary.cdf(family, close) >= found[::100]).all()
