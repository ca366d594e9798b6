"""Rate-distortion curves against the closed form of a linear-Gaussian decoder."""

import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import rate_distortion
from pyro_vae.plots.evidence import rate_distortion_figure

WEIGHT, NOISE = torch.tensor([1.5, 0.7]), 0.5


def model(x):
    """z ~ N(0, I), x_d ~ N(w_d z_d, 0.5^2)."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(WEIGHT * z, NOISE).to_event(1), obs=x)


def optimal(x, beta):
    """Rate and distortion (N,) of p(z) p(x|z)^beta, normalized: Gaussian, with precision 1 + beta w^2 / s^2."""
    w, x = WEIGHT.double(), x.double()
    variance = 1 / (1 + beta * w**2 / NOISE**2)
    mean = variance * beta * w * x / NOISE**2
    rate = (variance + mean**2 - 1 - variance.log()).sum(-1) / 2
    squared = (x - w * mean) ** 2 + w**2 * variance
    distortion = (squared / (2 * NOISE**2) + math.log(NOISE) + 0.5 * math.log(2 * math.pi)).sum(-1)
    return rate, distortion


@pytest.fixture(scope="module")
def data():
    return torch.randn(20, 2, generator=torch.Generator().manual_seed(0)) * (WEIGHT**2 + NOISE**2).sqrt()


@pytest.fixture(scope="module")
def found(data):
    return rate_distortion(model, model, data, largest_beta=3.0, num_temperatures=60, num_leapfrog=3, num_chains=64)


def test_the_curve_is_that_of_the_closed_form(found, data):
    for t in (0, 20, 40, 59):
        beta = found.betas[t].item()
        rate, distortion = optimal(data, beta)
        at = found.curve[t]
        assert abs(at[2].value - distortion.mean()) < 5 * at[2].monte_carlo_error + 0.05
        assert abs(at[1].value - rate.mean()) < 5 * at[1].monte_carlo_error + 0.05
    assert found.betas[-1] < 3.0
    assert found.curve[0][1].value == 0  # at beta 0, z says nothing of x


def test_few_bad_chains_give_points_above_the_curve(data):
    """Two chains on three temperatures: far above, which the Legendre dual of the closed form shows for each point."""
    found = rate_distortion(model, model, data.repeat(10, 1), num_temperatures=3, num_leapfrog=1, num_chains=2)
    for t, beta in enumerate(found.betas.tolist()[1:], 1):
        rate, distortion = optimal(data.repeat(10, 1), beta)
        least = rate + beta * distortion  # = -log Z, the least of rate + beta distortion
        above = found.rate[:, t] + beta * found.distortion[:, t] - least
        assert above.mean() > 5 * above.std() / math.sqrt(len(above))


def test_simulated_data_are_bounded_from_below(data):
    found = rate_distortion(model, model, data, simulate=True, num_temperatures=60, num_leapfrog=3, num_chains=16)
    assert found.least_sum.shape == (20,)
    assert found.gap.value > -4 * found.gap.standard_error
    assert found.gap.value < 0.3
    for _, rate, distortion in found.curve:
        noise = math.hypot(rate.monte_carlo_error, distortion.monte_carlo_error)
        assert rate.value + distortion.value > found.from_below.value - 5 * noise - 0.05


def test_what_it_says(found):
    assert "bounded from above alone" in repr(found)
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert len(content["curve"]) == 60
    assert content["least_rate_plus_distortion"] is None
    axes = rate_distortion_figure(found, title="a run").axes[0]
    assert len(axes.lines[0].get_xdata()) == 60


def test_only_some_data_points_and_portions(data):
    quick = {"num_temperatures": 5, "num_leapfrog": 1, "num_chains": 4}
    whole = rate_distortion(model, model, data, **quick)
    parts = rate_distortion(model, model, data, **quick, only=[3, 5], chunk_size=4)
    torch.testing.assert_close(parts.rate, whole.rate[[3, 5]], rtol=1e-3, atol=1e-3)


def test_refused_in_a_sentence(data):
    with pytest.raises(ValueError, match="largest_beta > 0"):
        rate_distortion(model, model, data, largest_beta=0.0)
