"""log p(x) on a GPU, where one is there: the numbers of the CPU, and the truth."""

import copy

import pytest
import torch
from examples import PAIRS, LinearGaussian

from pyro_vae import HeavyTail, annealed_log_marginal, bidirectional, log_marginal
from pyro_vae.evidence.counter_random import CounterRandom, data_keys
from pyro_vae.pairs.modules import is_bound

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
DEVICES = "cpu", "cuda"


@pytest.fixture(scope="module")
def truth():
    torch.manual_seed(0)
    linear = LinearGaussian(8, 3, width=1.3)
    x = torch.randn(40, 8)
    return linear, x, linear.log_prob(x)


@pytest.fixture
def linear(truth):
    return copy.deepcopy(truth[0]).cuda()


def assert_true(result, expected):
    assert ((result.log_prob - expected).abs() < 5 * result.standard_error + 1e-4).all()


def test_random_numbers_are_those_of_the_cpu():
    x, drawn = torch.rand(5, 3), []
    for device in DEVICES:
        zero = torch.zeros((), dtype=torch.int64, device=device)
        with CounterRandom(data_keys(x.to(device), 7), zero + 3, 11, zero):
            draws = torch.rand(11, 5, 4, device=device), torch.randn(11, 5, 7, device=device)
        drawn.append([draw.cpu() for draw in draws])
    torch.testing.assert_close(*drawn, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", [{}, {"defensive": 0.2}, {"target_standard_error": 0.02}])
@pytest.mark.parametrize("estimator", ["guide", "auto"])
def test_estimates_are_those_of_the_cpu(truth, linear, estimator, settings):
    x = truth[1]
    results = [
        log_marginal(pair.model, pair.mediocre_guide, x.to(device), estimator=estimator, num_samples=500, **settings)
        for pair, device in zip((truth[0], linear), DEVICES, strict=True)
    ]
    for result in results:
        assert result.log_prob.device.type == "cpu"
        assert_true(result, truth[2])
    apart = (results[0].log_prob - results[1].log_prob).abs()
    assert (apart < 0.5 * results[0].standard_error + 1e-3).all()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_compiled_estimates_are_the_plain_ones(truth, linear, precision):
    x = truth[1].cuda()
    settings = {"estimator": "guide", "num_samples": 3000, "chunk_size": 20_000}
    plain = log_marginal(linear.model, linear.mediocre_guide, x, compile=False, **settings)
    result = log_marginal(linear.model, linear.mediocre_guide, x, compile=True, precision=precision, **settings)
    torch.testing.assert_close(result.log_prob, plain.log_prob, rtol=0, atol=1e-3 if precision == "fp32" else 0.3)


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
@pytest.mark.parametrize("prior", ["StandardNormal", "VampPrior"])
def test_compiled_estimates_of_a_vae_are_the_plain_ones(prior):
    torch.manual_seed(0)
    pair = PAIRS[f"VAE, {prior}"]()
    pair.model.__self__.cuda()
    settings = {"estimator": "guide", "num_samples": 3000, "chunk_size": 6000}
    plain, compiled = (
        log_marginal(pair.model, pair.guide, pair.x.cuda(), compile=c, **settings) for c in (False, True)
    )
    torch.testing.assert_close(compiled.log_prob, plain.log_prob, rtol=0, atol=1e-3)


def test_fits_to_a_posterior_far_from_the_guide_are_the_truth(truth, linear):
    def guide(x):
        return linear.mediocre_guide(x + 3)

    result = log_marginal(linear.model, guide, truth[1].cuda(), num_samples=1000)
    assert (result.details["rung"] > 0).all()
    assert not result.unreliable.any()
    assert_true(result, truth[2])


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
@pytest.mark.parametrize("compile", [False, True])
def test_annealing_is_the_truth(truth, linear, compile):
    x, settings = truth[1].cuda(), {"num_chains": 64, "num_temperatures": 40, "num_leapfrog": 3, "start": "prior"}
    result = annealed_log_marginal(linear.model, linear.guide, x, compile=compile, **settings)
    assert_true(result, truth[2])


def test_bounds_from_both_sides_meet(linear):
    settings = {"num_chains": 16, "num_temperatures": 30, "num_leapfrog": 3}
    result = bidirectional(linear.model, linear.mediocre_guide, torch.zeros(30, 8, device="cuda"), **settings)
    assert abs(result.mean_gap.value) < 5 * result.mean_gap.standard_error + 0.02
    assert result.x.device.type == "cpu"


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_has_the_numbers_of_the_cpu(name):
    torch.manual_seed(0)
    pair = PAIRS[name]()
    if not is_bound(pair.model, pair.guide):
        pytest.skip("functions keep their parameters where they are")
    results = []
    for device in DEVICES:
        for module in {id(m): m for m in (pair.model.__self__, pair.guide.__self__)}.values():
            module.to(device)
        results.append(log_marginal(pair.model, pair.guide, pair.x[:6].to(device), num_samples=50, estimator="guide"))
    torch.testing.assert_close(results[0].log_prob, results[1].log_prob, rtol=1e-3, atol=5e-3)


def test_a_heavy_tail_is_said(truth, linear):
    with pytest.warns(HeavyTail):
        log_marginal(linear.model, lambda x: linear.mediocre_guide(x + 9), truth[1].cuda(), estimator="guide")
