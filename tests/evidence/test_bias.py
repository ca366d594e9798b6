"""What is said of the bias of log p(x): the delta method and the jackknife, against closed forms."""

import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import log_marginal
from pyro_vae.evidence.weights import WeightSum

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")  # by chance, of some of 8,000
DIM, SCALE, POINTS, SAMPLES = 10, 1.4, 8000, 40
CV2 = (SCALE**2 / math.sqrt(2 * SCALE**2 - 1)) ** DIM - 1


def model(x):
    """z ~ N(0, I), x ~ N(0, 1) whatever z: the posterior is the prior."""
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(0.0, 1.0), obs=x)


def wide_guide(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(torch.zeros(DIM), SCALE).to_event(1))


@pytest.fixture(scope="module")
def result():
    return log_marginal(model, wide_guide, torch.zeros(POINTS), estimator="guide", num_samples=SAMPLES, compile=False)


def test_the_bias_of_a_guide_too_wide(result):
    """Of log p(x) it is -CV^2 / (2 K) to first order, CV^2 known in closed form; of the jackknife far less."""
    truth = -0.5 * math.log(2 * math.pi)
    errors = result.log_prob - truth
    noise = errors.std().item() / math.sqrt(POINTS)
    expected = -CV2 / (2 * SAMPLES)
    assert abs(errors.mean().item() - expected) < 5 * noise + 0.2 * abs(expected)  # 1 / K^2 is left out
    assert abs(errors.mean().item()) > 8 * noise  # the bias is there to be seen
    assert result.delta_method_bias.mean().item() == pytest.approx(expected, rel=0.25)
    corrected = result.jackknife - truth
    assert abs(corrected.mean().item()) < 5 * corrected.std().item() / math.sqrt(POINTS) + 0.1 * abs(expected)


def test_an_upper_bound_is_too_high(result):
    """The same weights, taken for those of 1 / p(x): both corrections point down."""
    upper = result.inverse()
    torch.testing.assert_close(upper.delta_method_bias, -result.delta_method_bias)
    assert (upper.delta_method_bias > 0).all()
    assert (upper.jackknife < upper.log_prob).all()
    assert abs((upper.log_prob - upper.delta_method_bias - upper.jackknife).mean().item()) < 6e-3


@pytest.mark.parametrize("scale", [0.0, 0.3, 1.0, 3.0])
def test_the_jackknife_is_that_of_all_weights(scale):
    log_weights = scale * torch.randn(500, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) - 900
    total = WeightSum(7, 500)
    for some in log_weights.split(64):
        total.add(some)
    result = total.result()
    w = np.exp((log_weights + 900).numpy())
    without = np.log((w.sum(0) - w) / 499).mean(0) - 900
    expected = 500 * result.log_prob.numpy() - 499 * without
    size = np.abs(expected - result.log_prob.numpy())
    assert np.all(np.abs(result.jackknife.numpy() - expected) <= 0.02 * size + 1e-9)


def test_weights_without_a_jackknife():
    one = WeightSum(2, 1)
    one.add(torch.zeros(1, 2))
    assert one.result().jackknife.isnan().all()
    none = WeightSum(1, 40)
    none.add(torch.full((40, 1), -math.inf))
    assert none.result().jackknife.isnan().all()
