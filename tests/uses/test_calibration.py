"""Ranks of simulated latents against closed forms: guides that fit, too narrow, too wide, shifted."""

import json

import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from goodness_of_fit import FAILURE_RATE, assert_counts_fit

from pyro_vae import calibrate
from pyro_vae.plots.ranks import calibration_figure


def pair(width=1.0, shift=0.0, dim=3):
    """z ~ N(0, I), x ~ N(z, I), whose posterior is N(x / 2, 1 / 2); the guide's width and place in units of that, in
    the first dimension alone."""
    width = torch.tensor([width, *[1.0] * (dim - 1)])
    shift = torch.tensor([shift, *[0.0] * (dim - 1)])

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(dim), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 2 + shift * 0.5**0.5, width * 0.5**0.5).to_event(1))

    return model, guide


CASES = {
    "fits": (1.0, 0.0),
    "too narrow": (0.7, 0.0),
    "too wide": (1.4, 0.0),
    "too low": (1.0, -0.4),
    "too high": (1.0, 0.4),
    "too low and too narrow": (0.6, -0.5),
}


@pytest.mark.parametrize("verdict", CASES)
def test_each_dimension_gets_the_verdict_of_the_closed_form(verdict):
    width, shift = CASES[verdict]
    result = calibrate(*pair(width, shift), torch.zeros(1000, 3), num_draws=199)
    assert result.verdicts == (verdict, "fits", "fits")
    assert result.dimensions == ("z[0]", "z[1]", "z[2]")
    # The guide's scale is the unit: the posterior lies at -shift / width, and is 1 / width times as wide.
    assert abs(result.shift[0] + shift / width) < 5 * result.shift_error[0] + 0.03
    assert abs(result.width[0] - 1 / width) < 5 * result.width_error[0] + 0.08 * abs(1 / width - 1)


@pytest.mark.parametrize("width", [1.0, 0.8])
def test_ranks_follow_their_law(width):
    """Uniform for the posterior; for a Gaussian of another width, with z its quantile, binomial given z."""
    model, guide = pair(width)
    result = calibrate(model, guide, torch.zeros(6000, 3), num_draws=19)
    z = torch.linspace(-8, 8, 4001).double()
    share = torch.special.ndtr(z / width)[:, None]
    law = torch.tensor(scipy.stats.binom.pmf(range(20), 19, share.numpy())) * torch.diff(
        torch.special.ndtr(torch.linspace(-8.002, 8.002, 4002).double())
    ).unsqueeze(1)
    probs = law.sum(0) / law.sum()
    assert_counts_fit(result.ranks[:, 0].bincount(minlength=20).double(), probs)
    flat = torch.full((20,), 1 / 20).double()
    assert_counts_fit(result.ranks[:, 1].bincount(minlength=20).double(), flat)
    if width != 1:
        counts = result.ranks[:, 0].bincount(minlength=20).numpy()
        assert scipy.stats.chisquare(counts).pvalue < FAILURE_RATE  # and such a test can tell


def test_several_sites_and_constrained_latents():
    """An amount on the positive line and a point that depends on it: the guide that ignores x is the posterior where x
    says nothing."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
            pyro.sample("z", dist.Normal(torch.zeros(2, 2), scale[..., None, None]).to_event(2))
            pyro.sample("x", dist.Normal(torch.zeros(1), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            scale = pyro.sample("scale", dist.LogNormal(torch.zeros(len(x)), 0.5))
            pyro.sample("z", dist.Normal(torch.zeros(2, 2), 2 * scale[..., None, None]).to_event(2))

    result = calibrate(model, guide, torch.zeros(600, 1), num_draws=49)
    assert result.dimensions == ("scale", "z[0, 0]", "z[0, 1]", "z[1, 0]", "z[1, 1]")
    assert result.verdicts == ("fits", *["too wide"] * 4)


def test_chunks_change_sizes_only_and_the_global_stream_stays():
    state = torch.get_rng_state()
    small = calibrate(*pair(), torch.zeros(50, 3), num_draws=9, chunk_size=20)
    assert torch.equal(state, torch.get_rng_state())
    assert small.ranks.shape == (50, 3)
    assert small.ranks.min() >= 0
    assert small.ranks.max() == 9
    assert torch.equal(small.ranks, calibrate(*pair(), torch.zeros(50, 3), num_draws=9, chunk_size=20).ranks)


def test_what_it_says():
    result = calibrate(*pair(0.5), torch.zeros(300, 3), num_draws=49)
    text = repr(result)
    assert "too narrow        1 of 3 dimensions; the farthest, z[0]" in text
    assert "300 simulated data points, 49 draws" in text
    content = json.loads(json.dumps(result.to_json()))
    assert content["verdicts"][0] == "too narrow"
    assert sum(content["rank_counts"][0]) == 300


def test_refused_in_a_sentence():
    def discrete(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Bernoulli(0.5).expand([len(x)]))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    with pytest.raises(ValueError, match="site 'z' is discrete"):
        calibrate(discrete, discrete, torch.zeros(5))
    with pytest.raises(ValueError, match="at least 2 data points"):
        calibrate(*pair(), torch.zeros(1, 3))
    with pytest.raises(ValueError, match="num_draws"):
        calibrate(*pair(), torch.zeros(5, 3), num_draws=0)


def test_the_figure_shows_the_worst_dimensions_in_red():
    result = calibrate(*pair(0.5, dim=6), torch.zeros(300, 6), num_draws=49)
    figure = calibration_figure(result, title="a run")
    assert len(figure.subfigs[1].axes) == 4
    first = figure.subfigs[1].axes[0]
    assert first.get_title() == "z[0]: too narrow"
    assert sum(bar.get_height() for bar in first.patches if bar.get_width() == 0.9) == 300
