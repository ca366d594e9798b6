"""What a result is of travels with it: the data and their order, the measure, the estimator; and is compared."""

import functools
import math
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import LinearGaussian

from pyro_vae import BidirectionalGap, LogMarginal, annealed_log_marginal, bidirectional, compare, log_marginal
from pyro_vae.data import digits

ANNEALED = {"num_chains": 4, "num_temperatures": 2, "num_leapfrog": 1}
pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")


@pytest.fixture(scope="module")
def linear():
    return LinearGaussian(3, 2)


@pytest.fixture(scope="module")
def x():
    return torch.randn(12, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def estimate(linear):
    return functools.partial(log_marginal, linear.model, linear.mediocre_guide, estimator="guide", num_samples=20)


def coins(x):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Bernoulli(logits=z[..., None].expand(*z.shape, 3)).to_event(1), obs=(x > 0).float())


def coins_guide(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x.mean(-1), 1.0))


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (lambda x: x.flip(0), "the same ones in another order"),
        (lambda x: x + 1, "other ones, though as many"),
        (lambda x: torch.cat([x[:-1], x[:1]]), "other ones, though as many"),
    ],
)
def test_other_data_are_refused(estimate, x, other, text):
    with pytest.raises(ValueError, match=f"on the same data points in the same order; got {text}"):
        compare({"a": [estimate(x)], "b": [estimate(other(x))]})


def test_slices_parts_and_files_keep_what_a_result_is_of(estimate, x, tmp_path):
    whole = estimate(x)
    parts = [estimate(x, only=list(range(start, start + 4))) for start in (0, 4, 8)]
    whole.save(tmp_path / "whole")
    order = torch.randperm(12)
    for same in (LogMarginal.join(parts), LogMarginal.load(tmp_path / "whole"), whole[order][order.argsort()]):
        assert (same.measure, same.estimator) == ("density", "importance sampling from the guide")
        compare({"a": [whole], "b": [same]})
    with pytest.raises(ValueError, match="another order"):
        compare({"a": [whole], "b": [whole[order]]})
    compare({"a": [whole[:5]], "b": [estimate(x[:5])]})


def test_densities_and_probabilities_are_not_compared(estimate, x):
    probability = log_marginal(coins, coins_guide, x, num_samples=20, estimator="guide")
    assert probability.measure == "probability"
    with pytest.raises(ValueError, match=r"densities \(a\) and probabilities \(b\)"):
        compare({"a": [estimate(x)], "b": [probability]})
    with pytest.raises(ValueError, match=r"densities \(a\) and probabilities \(a\)"):
        compare({"a": [estimate(x), probability]})


def test_a_model_of_both_kinds_is_neither():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])
            pyro.sample("y", dist.Bernoulli(logits=z), obs=(x[:, 1] > 0).float())

    x = torch.randn(4, 2)
    assert log_marginal(model, coins_guide, x, num_samples=2, estimator="guide").measure == "mixed"


def test_estimators_are_told_apart(linear, estimate, x):
    annealed = annealed_log_marginal(linear.model, linear.mediocre_guide, x, start="prior", **ANNEALED)
    both = compare({"a": [estimate(x)], "b": [annealed]})
    assert "a by importance sampling from the guide; b by annealed importance sampling from the prior" in both.caution
    assert both.caution in repr(both)
    assert "Different estimators" not in compare({"a": [estimate(x)], "b": [estimate(x)]}).caution
    assert "by importance sampling from the guide and annealed" not in repr(compare({"a": [estimate(x)]}))


def test_bounds_from_both_sides_are_of_the_simulated_data(linear, x, tmp_path):
    gap = bidirectional(linear.model, linear.guide, x, **ANNEALED)
    gap.save(tmp_path / "gap")
    for found in (gap, BidirectionalGap.load(tmp_path / "gap")):
        assert torch.equal(found.lower.digests, found.upper.digests)
        assert found.lower.measure == "density"
    again = log_marginal(linear.model, linear.guide, gap.x, num_samples=2, estimator="guide")
    compare({"a": [gap.lower], "b": [again]})


def test_a_result_stands_for_a_list_of_one(estimate, x):
    result = estimate(x)
    assert compare({"a": result, "b": [result]}).differences["a", "b"].value == 0


@pytest.mark.parametrize("given", [3.0, torch.zeros(3), [torch.zeros(3)], ["a"], {"seed": 1}, None])
def test_something_else_than_results_is_refused_in_a_sentence(given):
    with pytest.raises(
        ValueError, match="Expected the result of log_marginal, or a list of one for each seed, for 'a'"
    ):
        compare({"a": given})


def test_the_same_value_for_all_leaves_the_error_that_all_share():
    """No spread over data points: the interval is that of the shared error alone, a normal one."""
    same = LogMarginal(*(torch.full((4,), value).double() for value in (-2.0, 0.1, 9.0, 0.0)), torch.full((4,), 10))
    found = compare({"a": [same]}).log_marginal["a"]
    assert (found.value, found.standard_error, found.low, found.high) == (-2.0, 0.0, -2.0, -2.0)
    shared = replace(same, shared_error=0.5)
    found = compare({"a": [shared]}).log_marginal["a"]
    assert found.high - found.value == pytest.approx(1.959963984540054 * 0.5)


NOT_TENSORS = {"list": [0.0], "text": "x.npy", "data set": digits(), "none": None}


@pytest.mark.parametrize("x", NOT_TENSORS.values(), ids=NOT_TENSORS)
@pytest.mark.parametrize("estimate", [log_marginal, annealed_log_marginal, bidirectional])
def test_what_is_no_tensor_is_refused_in_a_sentence(estimate, linear, x):
    with pytest.raises(TypeError, match=r"Expected (x|like) to be a tensor or an array of numbers .*; got .*\. Use "):
        estimate(linear.model, linear.guide, x)


@pytest.mark.parametrize("bad", [-math.inf, math.inf, math.nan])
@pytest.mark.parametrize("settings", [{"num_samples": 1}, {"num_samples": 30}])
def test_a_data_point_without_a_weight_is_said_so(linear, x, bad, settings, tmp_path):
    first = x[0, 0].item()

    def model(x):
        linear.model(x)
        with pyro.plate("again", len(x), dim=-1):
            pyro.factor("trouble", torch.where(x[:, 0] == first, bad, 0.0))

    with pyro.validation_enabled(False), pytest.warns(UserWarning, match="not finite for 1 of 12"):
        result = log_marginal(model, linear.guide, x, **settings, estimator="guide")
    assert result.unreliable.tolist() == [True, *[False] * 11]
    assert "1 data point unreliable" in repr(result)
    result.save(tmp_path / "result")
    loaded = LogMarginal.load(tmp_path / "result")
    assert repr(loaded) == repr(result)
    assert result.to_json()["log_marginal_nats_per_data_point"] is None
    assert result.convergence() == []
