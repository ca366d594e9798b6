"""Pairs that look at their whole batch: each data point by itself, or refused; never a number made by the chunks."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import LinearGaussian

from pyro_vae import annealed_log_marginal, diagnose, inference_gaps, log_marginal
from pyro_vae.evidence.drawing import TRIED, handful

N = 60


def branching(whole):
    """A pair whose observation is noisier where `whole`, a function of the batch, says so."""
    linear = LinearGaussian(2, 1)

    def model(x):
        scale = 2.0 if whole(x) else 0.5
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([1]).to_event(1))
            pyro.sample("x", dist.Normal(z * linear.weight.T, scale).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.3 * x[:, :1], 0.8).to_event(1))

    return model, guide


def marked(position):
    """Data of which one, that nothing is tried on beforehand, is marked by a large value."""
    x = torch.randn(N, 2)
    assert position not in handful(x).tolist()
    x[position, 1] = 9.0
    return x


WHOLE = {
    "any": lambda x: bool((x[:, 1] > 8).any()),  # one is enough, as one without a label
    "mean": lambda x: bool(x.mean() > 0),
    "all": lambda x: bool((x[:, 0] > 0).all()),  # true of single data points alone
}
UNTRIED = next(i for i in range(20, N) if i not in handful(torch.zeros(N, 2)).tolist())


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("chunk_size", [100, 10_000])
def test_importance_sampling_weights_each_by_itself(name, chunk_size):
    model, guide = branching(WHOLE[name])
    x = marked(UNTRIED)
    settings = {"num_samples": 30, "seed": 1}
    result = log_marginal(model, guide, x, chunk_size=chunk_size, **settings, estimator="guide")
    some = [0, 1, UNTRIED - 1, UNTRIED, N - 1]
    alone = torch.cat([log_marginal(model, guide, x[i : i + 1], **settings, estimator="guide").log_prob for i in some])
    torch.testing.assert_close(result.log_prob[some], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
@pytest.mark.parametrize("name", ["mean"])
def test_escalation_fits_to_each_by_itself(name):
    model, guide = branching(WHOLE[name])
    x = marked(UNTRIED)
    x[[0, 1], 0] = torch.tensor([4.0, -4.0])  # far from the guide
    result = log_marginal(model, guide, x, num_samples=30)
    some = [0, 1, UNTRIED, N - 1]
    alone = torch.cat([log_marginal(model, guide, x[i : i + 1], num_samples=30).log_prob for i in some])
    assert (result.details["rung"] > 0).any()
    torch.testing.assert_close(result.log_prob[some], alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", WHOLE)
def test_the_others_refuse(name):
    model, guide = branching(WHOLE[name])
    x = marked(UNTRIED)
    for estimate in (
        lambda: annealed_log_marginal(model, guide, x, num_chains=2, num_temperatures=2),
        lambda: diagnose(model, guide, x, num_samples=2),
        lambda: inference_gaps(model, guide, x, torch.zeros(N), num_steps=1, num_samples=2),
    ):
        with pytest.raises(ValueError, match="Expected a pair that scores each data point by itself"):
            estimate()


def test_annealed_chains_of_one_data_point_at_a_time_are_allowed(monkeypatch):
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.FIRST_TRANSITIONS", 2)
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.LEAST_TRANSITIONS", 2)
    model, guide = branching(WHOLE["mean"])
    x = torch.randn(3, 2)
    settings = {"num_chains": 3, "num_temperatures": 2, "num_leapfrog": 1}
    result = annealed_log_marginal(model, guide, x, chunk_size=1, **settings)
    alone = [annealed_log_marginal(model, guide, point, chunk_size=1, **settings).log_prob for point in x.split(1)]
    torch.testing.assert_close(result.log_prob, torch.cat(alone), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("count", [1, 2, 3, TRIED, 1000])
def test_a_handful_is_a_few_with_both_ends(count):
    numbers = handful(torch.zeros(count, 3)).tolist()
    assert numbers == sorted(set(numbers))
    assert len(numbers) == min(count, TRIED)
    assert (numbers[0], numbers[-1]) == (0, count - 1)


def test_a_density_that_depends_on_how_many_data_points_there_are_is_refused():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + 0.1 * len(x), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 2, 0.8))

    for estimator in ("guide", "auto"):
        with pytest.raises(ValueError, match="scores a data point the same however many there are"):
            log_marginal(model, guide, torch.randn(6), num_samples=20, estimator=estimator)
