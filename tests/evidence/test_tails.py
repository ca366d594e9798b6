"""Tails of the weights and what is said of them: k-hat, bounds by number of samples, and the result that keeps both."""

import dataclasses
import json
import math
import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from arviz_stats.base import array_stats
from examples import PAIRS, LinearGaussian
from goodness_of_fit import assert_within_standard_errors
from torch import nn

from pyro_vae import HeavyTail, LogMarginal, annealed_log_marginal, log_marginal, widened
from pyro_vae.evidence.pareto import pareto_khat, tail_length
from pyro_vae.evidence.weights import WeightSum


def summed(log_weights, sizes=None):
    total = WeightSum(log_weights.shape[1], len(log_weights))
    for part in log_weights.split(sizes or len(log_weights)):
        total.add(part)
    return total.result()


def by_arviz(log_weights):
    """The same of each column by the reference implementation, which smooths in place and takes log ratios negated."""
    columns = log_weights.numpy().T.copy()
    return torch.tensor([float(array_stats.psislw(-column, r_eff=1.0)[1]) for column in columns]).double()


TAILS = {
    "nearly equal": lambda shape: 0.05 * torch.randn(shape),
    "bounded": lambda shape: -torch.randn(shape).square(),
    "normal": torch.randn,
    "wide": lambda shape: 4 * torch.randn(shape),
    "power 0.5": lambda shape: -0.5 * torch.rand(shape).double().log(),
    "power 1.5": lambda shape: -1.5 * torch.rand(shape).double().log(),
    "Cauchy": lambda shape: 0.1 * dist.Cauchy(0.0, 1.0).sample(shape),
    "far from zero": lambda shape: 3 * torch.randn(shape) - 5e3,
    "some zero": lambda shape: torch.where(torch.rand(shape) < 0.3, -math.inf, torch.randn(shape)),
}


# k-hat


@pytest.mark.parametrize("count", [30, 99, 225, 226, 1000, 4001])  # later versions of arviz fit no tail of five
@pytest.mark.parametrize("tail", TAILS)
def test_khat_is_that_of_arviz(tail, count):
    log_weights = TAILS[tail]((count, 6)).double()
    khat = summed(log_weights).khat
    torch.testing.assert_close(khat, by_arviz(log_weights), rtol=1e-6, atol=1e-6)
    shuffled = log_weights[torch.randperm(count)]
    torch.testing.assert_close(summed(shuffled).khat, khat, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("k", [0.2, 0.5, 0.9, 1.4])
def test_known_shapes_are_recovered(k):
    """Exceedances of a generalized Pareto distribution; the prior draws the fit towards 0.5 by 10 / (M + 10)."""
    repetitions, count = 200, 20_000
    uniform = torch.rand(count, repetitions).double()
    khat = summed(((uniform**-k - 1) / k).log()).khat
    tail = tail_length(count)
    # The tail starts where 1 - tail / count lies below; beyond it the shape is k still.
    assert_within_standard_errors(khat, (tail * k + 5) / (tail + 10), errors=8)  # and the fit has a bias of its own
    assert khat.std() < 1.5 * (1 + k) / math.sqrt(tail)


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        (torch.full((100,), -7.3), -math.inf),
        (-7.3 + 1e-6 * torch.linspace(0, 1, 100), -math.inf),  # equal up to rounding
        (torch.full((100,), -math.inf), math.nan),
        (torch.cat([torch.full((95,), -math.inf), torch.randn(5)]), math.inf),
        (torch.cat([torch.randn(99), torch.tensor([math.nan])]), math.nan),
        (torch.cat([torch.randn(99), torch.tensor([math.inf])]), math.nan),
        (torch.randn(24), math.nan),
        (torch.randn(1), math.nan),
    ],
    ids=["equal", "rounded", "all zero", "few not zero", "nan", "infinite", "24", "one"],
)
def test_weights_without_a_tail_to_fit(weights, expected):
    beside = torch.randn(len(weights))  # another image is not disturbed
    both = summed(torch.stack([weights, beside], 1)).khat
    torch.testing.assert_close(both[0].item(), expected, equal_nan=True)
    torch.testing.assert_close(both[1:], summed(beside[:, None]).khat, equal_nan=True)


def test_one_large_weight_among_equal_ones_has_no_quiet_khat():
    """An exact posterior apart from a point that is rarely drawn: the tail is flat but for the largest."""
    weights = torch.zeros(1000, 1)
    weights[300] = 12.0
    assert not summed(weights).khat <= 0.7


@pytest.mark.parametrize("sizes", [1, 7, 100, [3, 900, 97]])
def test_streamed_in_any_chunks_it_is_the_same(sizes):
    log_weights = torch.cat([make((1000, 2)).double() for make in TAILS.values()], 1)
    whole, streamed = summed(log_weights), summed(log_weights, sizes)
    for name in ("log_prob", "standard_error", "ess", "khat"):
        torch.testing.assert_close(getattr(streamed, name), getattr(whole, name), rtol=1e-9, atol=1e-9)
    assert streamed.log_levels.keys() == whole.log_levels.keys()
    for k, level in whole.log_levels.items():
        torch.testing.assert_close(streamed.log_levels[k], level, rtol=1e-7, atol=1e-7, equal_nan=True)


def test_pareto_khat_takes_the_largest_in_any_order():
    largest = torch.randn(40, 3)
    assert torch.equal(pareto_khat(largest), pareto_khat(largest.flip(0)))


# The warning


def narrow_for_some(x):
    """q far too narrow for the images with a positive first value, exact for the others."""
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x / 2, torch.where(x > 0, 0.15, 0.5**0.5)))


def one_latent(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)


def test_the_warning_names_how_many_and_the_worst():
    x = torch.tensor([-1.0, 1.0, -0.5, 2.0, -2.0])
    with pytest.warns(HeavyTail, match=r"k-hat is above 0\.7 for 2 of 5 data points .*widen.*defensive") as caught:
        result = log_marginal(one_latent, narrow_for_some, x, estimator="guide")
    assert (result.khat > 0.7).tolist() == result.unreliable.tolist() == [False, True, False, True, False]
    first, second = sorted([1, 3], key=lambda i: -result.khat[i])
    named = f"number {first} with {result.khat[first]:.2f}, {second} with {result.khat[second]:.2f})"
    assert named in str(caught[0].message)
    assert caught[0].filename == __file__


def test_the_warning_names_what_was_estimated():
    def model(x, y):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + y, 1.0), obs=x)

    def guide(x, y):
        narrow_for_some(x - y)

    with pytest.warns(HeavyTail, match=r"their log p\(x \| y\) is likely too low"):
        log_marginal(model, guide, (torch.tensor([1.0, 2.0]), torch.zeros(2)), estimator="guide")


def test_a_widened_guide_is_not_advised_to_be_widened():
    x = torch.tensor([2.0, 3.0])
    with pytest.warns(HeavyTail, match="2 of 2 data points") as caught:
        log_marginal(one_latent, widened(narrow_for_some, 1.01), x, estimator="guide")
    assert "widen" not in str(caught[0].message)
    assert "defensive" in str(caught[0].message)


def test_one_data_point_is_one():
    with pytest.warns(HeavyTail, match=r"for 1 of 1 data point \("):
        result = log_marginal(one_latent, narrow_for_some, torch.tensor([2.0]), estimator="guide")
    assert "1 data point unreliable" in repr(result)
    assert "1 data points" not in repr(result) + result._repr_html_()


def test_the_warning_names_images_by_their_numbers_among_all():
    with pytest.warns(HeavyTail, match=r"1 of 2 data points \(the worst: number 3 with"):
        log_marginal(one_latent, narrow_for_some, torch.tensor([-1.0, -1.0, -0.5, 2.0]), only=[2, 3], estimator="guide")


@pytest.mark.parametrize("name", ["linear Gaussian, exact guide", "linear Gaussian, mediocre guide", "first column"])
def test_good_guides_are_not_warned_of(name):
    pair = PAIRS[name]()
    result = log_marginal(
        pair.model, pair.guide, pair.x, num_samples=2000, estimator="guide"
    )  # a warning is an error here
    assert not result.unreliable.any()


def test_annealed_chains_are_warned_of_too():
    with pytest.warns(HeavyTail, match="2 of 5 data points"):
        annealed_log_marginal(
            one_latent, narrow_for_some, torch.tensor([-1.0, 1.0, -0.5, 2.0, -2.0]), num_chains=1000, num_temperatures=1
        )


# Bounds by number of samples


def test_levels_are_those_of_a_direct_computation():
    log_weights = 2 * torch.randn(2345, 3).double() - 70
    levels = summed(log_weights, 100).log_levels
    assert list(levels) == [1, 10, 100, 1000, 2345]
    for k in (1, 10, 100, 1000):
        groups = log_weights[: 2345 // k * k].view(-1, k, 3).logsumexp(1) - math.log(k)
        torch.testing.assert_close(levels[k][0], groups.mean(0))
        count = len(groups)
        error = groups.std(0, unbiased=False) / math.sqrt(count - 1)
        torch.testing.assert_close(levels[k][1], error)
    torch.testing.assert_close(levels[2345][0], log_weights.logsumexp(0) - math.log(2345))


@pytest.mark.parametrize(("count", "expected"), [(1, [1]), (9, [1, 9]), (10, [1, 10]), (11, [1, 10, 11])])
def test_there_is_a_level_for_every_power_of_ten_and_for_all(count, expected):
    levels = summed(torch.randn(count, 2)).log_levels
    assert list(levels) == expected
    assert all(value.isfinite().all() for value, _ in levels.values())


def test_one_sample_gives_the_elbo_and_more_a_higher_bound():
    linear = LinearGaussian(width=2.0)
    x = (linear.bias.detach() + torch.randn(5)).expand(2000, 5)
    result = log_marginal(linear.model, linear.mediocre_guide, x, num_samples=100, estimator="guide")
    (one, one_error), (ten, _), (all_, _) = (result.log_levels[k] for k in (1, 10, 100))
    assert_within_standard_errors(one, linear.elbo(x[:1]).item())
    assert_within_standard_errors((one - one.mean()).square() / one_error.square().mean(), 1 - 1 / 2000)
    truth = linear.log_prob(x[:1]).item()
    for lower, higher in ((one, ten), (ten, all_)):
        gain = higher - lower
        assert gain.mean() > 5 * gain.std() / math.sqrt(2000)
    assert all_.mean() < truth + 5 * all_.std() / math.sqrt(2000)
    rows = result.convergence()
    assert [k for k, _, _ in rows] == [1, 10, 100]
    assert rows[0][1] == pytest.approx(one.mean().item())
    assert rows[-1][1:] == pytest.approx((result.mean.value, result.mean.monte_carlo_error))


# The result


def example(count=200, images=4):
    return summed(3 * torch.randn(count, images).double() - 90).with_details(acceptance=torch.rand(images).double())


def arrays(result):
    return {
        name: value for name, value in dataclasses.asdict(result).items() if name not in WORDS and value is not None
    }


WORDS = ("bound", "shared_error", "measure", "estimator")


def assert_same(first, second):
    assert all(getattr(first, name) == getattr(second, name) for name in WORDS)
    torch.testing.assert_close(arrays(second), arrays(first), rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("count", [1, 2, 10, 15, 30])
@pytest.mark.parametrize("images", [1, 3])
def test_a_result_survives_a_file(tmp_path, count, images):
    result = dataclasses.replace(example(count, images), shared_error=0.02).inverse()
    result.save(tmp_path / "run.1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.1.json", "run.1.npz"]
    assert_same(result, LogMarginal.load(tmp_path / "run.1"))


def strictly(text):
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("bad", [None, -math.inf, math.nan])
def test_its_json_is_json(tmp_path, bad):
    log_weights = torch.randn(15, 3)
    if bad is not None:
        log_weights[:, 1] = bad
    result = summed(log_weights)
    result.save(tmp_path / "result")
    saved = strictly((tmp_path / "result.json").read_text())
    assert saved.items() >= strictly(json.dumps(result.to_json())).items()
    assert saved["num_data_points"] == 3
    assert saved["data_points_not_finite"] == (bad is not None)
    assert saved["largest_khat"] is None  # too few samples
    assert_same(result, LogMarginal.load(tmp_path / "result"))


@pytest.mark.parametrize("suffix", ["json", "npz"])
def test_a_missing_file_is_an_error(tmp_path, suffix):
    example().save(tmp_path / "result")
    (tmp_path / f"result.{suffix}").unlink()
    with pytest.raises(FileNotFoundError, match=suffix):
        LogMarginal.load(tmp_path / "result")


def test_damaged_files_are_errors_and_never_other_numbers(tmp_path):
    """Truncated anywhere, and with any byte turned over; and one file of another result."""
    result = example(30, 2)
    result.save(tmp_path / "result")
    random, refused = np.random.default_rng(0), 0
    for suffix in ("json", "npz"):
        path = tmp_path / f"result.{suffix}"
        whole = path.read_bytes()
        damaged = [whole[:cut] for cut in random.integers(0, len(whole) - 2, 20)]
        for at in random.integers(0, len(whole), 75):
            damaged.append(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        for content in [*damaged, b"", b"[]", b"3", b"null", b"\xff\xfe"]:
            path.write_bytes(content)
            try:
                loaded = LogMarginal.load(tmp_path / "result")
            except ValueError as error:
                refused += "Expected a saved LogMarginal in" in str(error)
            else:
                assert_same(result, loaded)  # the byte says nothing
        path.write_bytes(whole)
    assert_same(result, LogMarginal.load(tmp_path / "result"))
    assert refused > 150
    result[[1, 0]].save(tmp_path / "shuffled")
    (tmp_path / "shuffled.npz").replace(tmp_path / "result.npz")
    with pytest.raises(ValueError, match=r"result\.npz is damaged, or of another time than .*result\.json"):
        LogMarginal.load(tmp_path / "result")


def test_a_kill_between_its_two_files_leaves_no_numbers_under_other_words(tmp_path, monkeypatch):
    example().save(tmp_path / "result", {"protocol": "the first"})

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("pyro_vae.evidence.saved.write_json", stop)
    with pytest.raises(KeyboardInterrupt):
        example().save(tmp_path / "result", {"protocol": "the second"})
    with pytest.raises(ValueError, match="Make it again"):
        LogMarginal.load(tmp_path / "result")


def test_results_of_images_with_other_numbers_of_samples_join():
    few, many = example(20, 2), dataclasses.replace(example(300, 3), shared_error=0.1)
    joined = LogMarginal.join([few, many])
    assert len(joined) == 5
    assert joined.num_samples.tolist() == [20, 20, 300, 300, 300]
    assert list(joined.log_levels) == [1, 10, 20, 100, 300]
    assert joined.log_levels[20][0].isfinite().tolist() == [True, True, False, False, False]
    assert joined.log_levels[100][1].isfinite().tolist() == [False, False, True, True, True]
    assert [k for k, _, _ in joined.convergence()] == [1, 10]
    assert joined.shared_error == 0.1
    assert "20 to 300 samples each" in repr(joined)
    assert joined.to_json()["num_samples"] == [20, 300]
    for part, images in ((few, slice(0, 2)), (many, slice(2, 5))):
        for name in ("log_prob", "standard_error", "ess", "khat", "num_samples"):
            assert torch.equal(getattr(joined[images], name).nan_to_num(9.0), getattr(part, name).nan_to_num(9.0))


def test_some_of_the_images():
    result = example(images=5)
    mask = torch.tensor([True, False, False, True, False])
    for images in ([0, 3], mask, slice(0, 4, 3), torch.tensor([0, 3])):
        part = result[images]
        assert torch.equal(part.log_prob, result.log_prob[[0, 3]])
        assert torch.equal(part.log_levels[10][1], result.log_levels[10][1][[0, 3]])
        assert torch.equal(part.details["acceptance"], result.details["acceptance"][[0, 3]])


def test_an_error_that_all_images_share_counts_once():
    class WithNormalizer(nn.Module):
        log_normalizer_standard_error = torch.tensor(0.3)

    linear = LinearGaussian()
    linear.first, linear.second = WithNormalizer(), nn.Sequential(WithNormalizer())
    linear.again = linear.first  # the same part under another name
    x = linear.bias.detach() + torch.randn(8, 5)
    shared = math.hypot(0.3, 0.3)
    results = [
        log_marginal(linear.model, linear.guide, x, num_samples=30, chunk_size=20, estimator="guide"),
        annealed_log_marginal(linear.model, linear.guide, x, num_chains=2, num_temperatures=1),
    ]
    for result in results:
        assert result.shared_error == pytest.approx(shared)
        assert result.mean.monte_carlo_error == pytest.approx(shared, rel=1e-4)
        spread = result.log_prob.std().item() / math.sqrt(8)
        assert result.mean.standard_error == pytest.approx(math.hypot(shared, spread))
        assert result.to_json()["shared_error"] == pytest.approx(shared)


def test_no_good_result_raises_a_warning_when_shown():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "unreliable" not in repr(summed(torch.randn(1000, 2) / 2))
        assert "1 data point unreliable" in repr(summed(torch.full((30, 1), -math.inf)))


@pytest.mark.parametrize("count", [1, 5, 20])
def test_a_few_large_weights_among_equal_ones_are_not_trusted(count):
    """There is no tail to fit a k-hat to: the effective sample size tells."""
    log_weights = torch.zeros(1000, 2)
    log_weights[:count, 1] = 12.0 + torch.arange(count)
    total = WeightSum(2, 1000)
    total.add(log_weights)
    result = total.result()
    assert result.unreliable.tolist() == [False, True]
    assert result.khat[1] == 1


def test_repeated_weights_of_few_states_stay_trusted():
    log_weights = torch.zeros(1000, 1)
    log_weights[:300] = 2.0
    total = WeightSum(1, 1000)
    total.add(log_weights)
    assert not total.result().unreliable.any()
