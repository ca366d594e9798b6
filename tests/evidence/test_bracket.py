"""Bounds from both sides on simulated data, against closed forms."""

import json
import math

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import bracket
from pyro_vae.evidence.bracket import NAMES
from pyro_vae.plots.evidence import bracket_figure

DIM, WIDTH = 3, 1.3


def model(x):
    """log p(x) = log N(x; 0, 2 I), the posterior N(x / 2, 1 / 2 I)."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(DIM), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)


def guide_of(width):
    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 2, width * 0.5**0.5).to_event(1))

    return guide


@pytest.fixture(scope="module")
def found():
    with pytest.MonkeyPatch.context() as patch:  # to save time: rough step sizes leave the bounds valid
        for constant in ("FIRST_TRANSITIONS", "LEAST_TRANSITIONS"):
            patch.setattr(f"pyro_vae.evidence.annealed_chains.{constant}", 18)
        return bracket(
            model, guide_of(WIDTH), torch.zeros(400, DIM), num_temperatures=10, num_chains=8, num_samples=200
        )


def test_elbo_and_eubo_are_off_by_the_divergences(found):
    """KL(q||p) = D (s^2 - 1 - log s^2) / 2 and KL(p||q) = D (1 / s^2 - 1 + log s^2) / 2."""
    square = WIDTH**2
    below = DIM * (square - 1 - math.log(square)) / 2
    above = DIM * (1 / square - 1 + math.log(square)) / 2
    # The mean log p(x) of simulated data, -D (1 + log 4 pi) / 2, with a spread that all means share.
    truth = -DIM * (1 + math.log(4 * math.pi)) / 2
    assert abs(found.means["elbo"].value - truth + below) < 5 * found.means["elbo"].standard_error
    assert abs(found.means["eubo"].value - truth - above) < 5 * found.means["eubo"].standard_error
    # That spread cancels in the differences to the default estimate, which is close to log p(x) of the same data.
    for name, difference in (("elbo", -below), ("eubo", above)):
        assert abs(found.above_default[name].value - difference) < 5 * found.above_default[name].standard_error
        assert found.above_default[name].standard_error < found.means[name].standard_error / 2


def test_the_sides_are_in_order(found):
    means = {name: mean.value for name, mean in found.means.items()}
    assert list(means) == list(NAMES)
    assert means["elbo"] < means["lower"] < means["eubo"]
    assert found.worst_gap.value > -4 * found.worst_gap.standard_error
    assert found.worst_gap.value < 0.2
    assert torch.equal(found.lower.digests, found.reverse.digests)  # the same data


def test_the_exact_posterior_leaves_no_gap():
    exact = bracket(model, guide_of(1.0), torch.zeros(20, DIM), num_temperatures=3, num_chains=2, num_samples=20)
    values = [mean.value for mean in exact.means.values()]
    assert max(values) - min(values) < 1e-4


def test_what_it_says(found):
    text = repr(found)
    assert "400 data points simulated from the model" in text
    assert all(name in text for name in NAMES.values())
    content = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert content["eubo"]["value"] == found.eubo.mean().item()
    assert content["eubo"]["monte_carlo_error"] is None  # of one exact draw
    axes = bracket_figure(found, title="a run").axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == list(NAMES.values())


def test_discrete_latents_are_refused_in_a_sentence():
    def discrete(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Bernoulli(0.5).expand([len(x)]))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ValueError, match="site 'z' is discrete"):
        bracket(discrete, discrete, torch.zeros(5))
