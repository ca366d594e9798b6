"""Pairs that estimators could take wrongly without a word have a right number or a clear error."""

import math
from contextlib import nullcontext
from dataclasses import replace

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

from pyro_vae import annealed_log_marginal, bidirectional, diagnose, fit, inference_gaps, log_marginal, widened
from pyro_vae.evidence import LogMarginal

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
SHORT = {"num_temperatures": 3, "num_leapfrog": 1, "num_chains": 4, "num_warmup_chains": 2, "compile": False}


def model(x):
    """log p(x) = log N(x; 0, 2)."""
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)


def guide(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x / 2, 0.9))


@pytest.fixture(autouse=True)
def _short_warm_up(monkeypatch):
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.FIRST_TRANSITIONS", 5)
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.LEAST_TRANSITIONS", 4)


@pytest.fixture
def x():
    return torch.tensor([-2.0, -0.5, 0.3, 1.0, 2.5])


def test_a_factor_of_the_guide_trains_and_does_not_count(x):
    """As a classifier's loss is: log p(x) and the ELBO are those without it, the loss of training has it."""

    class Guide(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.slope = torch.nn.Parameter(torch.tensor(0.5))

        def forward(self, x):
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal(self.slope * x, 0.5**0.5))
                pyro.factor("loss", 3.0 + 0 * self.slope * x, has_rsample=True)

    exact, truth = Guide(), dist.Normal(0.0, 2**0.5).log_prob(x)
    for estimator in ("auto", "guide"):
        result = log_marginal(model, exact, x, estimator=estimator, num_samples=100)
        assert ((result.log_prob - truth).abs() <= 5 * result.standard_error + 1e-5).all()
    result = annealed_log_marginal(model, exact, x, **SHORT)
    assert ((result.log_prob - truth).abs() <= 5 * result.standard_error + 1e-5).all()
    assert diagnose(model, exact, x).elbo.value == pytest.approx(truth.mean().item(), abs=1e-5)
    rate = {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=1e-9)}
    (metrics,) = fit(model, exact, x, validation=x, epochs=1, progress=False, compile=False, **rate).history
    assert metrics["validation_elbo"] == pytest.approx(truth.mean().item(), abs=1e-5)
    assert metrics["loss"] == pytest.approx(3.0 - truth.mean().item(), abs=1e-5)


# Guides whose density is carried by an auxiliary site, as Pyro's own guides for all latents at once


def carried(x):
    with pyro.plate("data", len(x), dim=-1):
        noise = pyro.sample("noise", dist.Normal(x / 2, 0.8), infer={"is_auxiliary": True})
        pyro.sample("z", dist.Delta(noise))


@pytest.mark.parametrize("guide", [carried, widened(carried, 1.3)])
def test_an_auxiliary_site_can_carry_the_density(x, guide):
    result = log_marginal(model, guide, x, estimator="guide")
    assert ((result.log_prob - dist.Normal(0.0, 2**0.5).log_prob(x)) / result.standard_error).abs().max() < 5


def stretched(x, *, weight):
    """z = exp(0.3 a) + a, whose log|dz/da| is log(1 + 0.3 exp(0.3 a))."""
    with pyro.plate("data", len(x), dim=-1):
        a = pyro.sample("a", dist.Normal(x / 3, 0.8), infer={"is_auxiliary": True})
        slope = 1 + 0.3 * (0.3 * a).exp()
        pyro.sample("z", dist.Delta((0.3 * a).exp() + a, log_density=-weight * slope.log()))


def test_a_point_mass_carries_the_jacobian_of_what_it_is_made_from(x):
    result = log_marginal(model, lambda x: stretched(x, weight=1.0), x, num_samples=2000, estimator="guide")
    assert ((result.log_prob - dist.Normal(0.0, 2**0.5).log_prob(x)) / result.standard_error).abs().max() < 5
    for weight in (0.0, -1.0, 2.0):
        with pytest.raises(ValueError, match=r"which is -log\|det dz/da\| for the auxiliary sites \['a'\]"):
            log_marginal(model, lambda x, weight=weight: stretched(x, weight=weight), x, estimator="guide")


def test_a_point_mass_that_leaves_its_noise_aside_has_no_density(x):
    def constant(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Delta(0 * pyro.sample("a", dist.Normal(x, 1.0), infer={"is_auxiliary": True})))

    with pytest.raises(ValueError, match="Expected log_density=inf"):
        log_marginal(model, constant, x, estimator="guide")


def test_point_masses_in_between_are_made_anew(x):
    def twice(x):
        with pyro.plate("data", len(x), dim=-1):
            a = pyro.sample("a", dist.Normal(x / 4, 0.4), infer={"is_auxiliary": True})
            b = pyro.sample("b", dist.Delta(2 * a, log_density=-math.log(2)), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(b))

    result = log_marginal(model, twice, x, num_samples=2000, estimator="guide")
    assert ((result.log_prob - dist.Normal(0.0, 2**0.5).log_prob(x)) / result.standard_error).abs().max() < 5


def test_noise_that_no_latent_is_made_from_is_refused(x):
    def more(x):
        with pyro.plate("data", len(x), dim=-1):
            a = pyro.sample("a", dist.Normal(x / 2, 0.8), infer={"is_auxiliary": True})
            pyro.sample("unused", dist.Normal(0.0, 3.0), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(a))

    with pytest.raises(ValueError, match=r"have free coordinates, 1; got 2 at \['a', 'unused'\]"):
        log_marginal(model, more, x, estimator="guide")


def test_a_defensive_mixture_needs_the_density_of_the_guide(x):
    with pytest.raises(ValueError, match="the auxiliary site 'noise'"):
        log_marginal(model, carried, x, defensive=0.3, estimator="guide")


# Latents that count for some images alone


def partly(x):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z, 1.0), obs=x, obs_mask=x > 0)


def partly_guide(x, *, masked=True):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(x / 2, 0.9))
        with poutine.mask(mask=x <= 0) if masked else nullcontext():
            pyro.sample("x_unobserved", dist.Normal(z, 2.0))


def test_values_that_are_missing_for_some_images(x):
    result = log_marginal(partly, partly_guide, x, num_samples=2000, estimator="guide")
    truth = torch.where(x > 0, dist.Normal(0.0, 2**0.5).log_prob(x), 0.0)
    assert ((result.log_prob - truth) / result.standard_error).abs().max() < 5


@pytest.mark.parametrize("estimate", [log_marginal, annealed_log_marginal, diagnose])
def test_a_latent_that_only_the_guide_counts_is_an_error(x, estimate):
    with pytest.raises(ValueError, match="'x_unobserved' under the same mask in model and guide"):
        estimate(partly, lambda x: partly_guide(x, masked=False), x)
    with pytest.raises(ValueError, match="'z' under the same mask"):
        estimate(model, poutine.mask(guide, mask=torch.tensor(False)), x)


# Pairs that look at the whole batch


def centred(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(x.mean(), 1.0)), 1.0), obs=x)


def test_a_mean_over_the_batch_is_over_each_image_alone(x):
    result = log_marginal(centred, guide, x, estimator="guide")
    assert (
        (result.log_prob - dist.Normal(0.0, 2**0.5).log_prob(torch.tensor(0.0))) / result.standard_error
    ).abs().max() < 5
    assert torch.equal(log_marginal(centred, guide, x, only=[3], estimator="guide").log_prob, result.log_prob[3:4])


@pytest.mark.parametrize("start", ["guide", "prior"])
def test_annealed_chains_refuse_a_mean_over_the_batch(x, start):
    for estimate in (annealed_log_marginal, bidirectional):
        with pytest.raises(ValueError, match=r"each data point by itself|reads nothing off its argument"):
            estimate(centred, guide, x, start=start, **SHORT)
    alone = annealed_log_marginal(centred, guide, x, start=start, chunk_size=1, **SHORT)
    assert torch.equal(annealed_log_marginal(centred, guide, x[:1], start=start, **SHORT).log_prob, alone.log_prob[:1])


def parts(x):
    with pyro.plate("data", len(x), dim=-1):
        with pyro.plate("parts", 4, dim=-2):
            k = pyro.sample("k", dist.Categorical(torch.tensor([0.2, 0.3, 0.5])))
        pyro.sample("x", dist.Normal(k.float().sum(-2), 1.0), obs=x)


def parts_guide(x):
    with pyro.plate("data", len(x), dim=-1), pyro.plate("parts", 4, dim=-2):
        pyro.sample("k", dist.Categorical(torch.tensor([0.4, 0.3, 0.3])))


def test_categories_in_an_inner_plate_belong_to_their_images(x):
    whole = log_marginal(parts, parts_guide, x, num_samples=50, estimator="guide")
    for settings in ({"chunk_size": 60}, {"only": [1, 2]}):
        result = log_marginal(parts, parts_guide, x, num_samples=50, **settings, estimator="guide")
        torch.testing.assert_close(result.log_prob, whole.log_prob[settings.get("only", slice(None))])


# Plates of another meaning


def features_last(x):
    with pyro.plate("images", len(x), dim=-2), pyro.plate("features", 5, dim=-1):
        pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)


def features_last_guide(x):
    with pyro.plate("images", len(x), dim=-2), pyro.plate("features", 5, dim=-1):
        pyro.sample("z", dist.Normal(x / 2, 0.9))


def outside(x):
    weight = pyro.sample("weight", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(weight * pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)


def outside_guide(x):
    pyro.sample("weight", dist.Normal(0.0, 1.0))
    guide(x)


@pytest.mark.parametrize("estimate", [log_marginal, annealed_log_marginal, diagnose])
@pytest.mark.parametrize(
    ("model", "guide", "x"),
    [(features_last, features_last_guide, torch.zeros(5, 5)), (outside, outside_guide, torch.zeros(5))],
)
def test_no_other_plate_passes_for_that_over_images(estimate, model, guide, x):
    with pytest.raises(ValueError, match=r"(inside|Expected) the plate over the data"):
        estimate(model, guide, x)


# Images by number


@pytest.mark.parametrize("only", [[3, 1, 3], [True, False, True, False, False], torch.tensor([False, True, True])])
def test_an_image_twice_and_a_mask_are_errors(x, only):
    for estimate in (log_marginal, annealed_log_marginal, bidirectional):
        with pytest.raises(ValueError, match="each data point once"):
            estimate(model, guide, x, only=only)


def test_any_integers_are_numbers_of_images(x):
    chosen = log_marginal(model, guide, x, num_samples=10, only=torch.tensor([4, 0]), estimator="guide")
    assert torch.equal(
        chosen.log_prob, log_marginal(model, guide, x, num_samples=10, estimator="guide").log_prob[[4, 0]]
    )


# Results


def test_an_image_without_a_number_does_not_hide_the_others():
    values = torch.tensor([-1.0, math.nan, -3.0]).double()
    khat = torch.tensor([0.9, math.nan, 0.2], dtype=torch.float64)
    result = LogMarginal(values, values.abs(), ess=values + 10, khat=khat, num_samples=torch.full((3,), 100))
    numbers = result.to_json()
    assert (numbers["largest_khat"], numbers["smallest_ess"], numbers["median_ess"]) == (0.9, 7.0, 7.0)
    assert "ESS from 7.0 to 9.0, k-hat up to 0.90" in repr(result)
    assert result[1:2].to_json()["largest_khat"] is None


def test_gaps_know_of_an_error_that_all_images_share(x):
    known = log_marginal(model, guide, x, num_samples=100, estimator="guide")
    results = [
        inference_gaps(model, guide, x, replace(known, shared_error=shared), num_steps=1, num_samples=2)
        for shared in (0.0, 0.3)
    ]
    for name, shared in (("inference", 0.3), ("approximation", 0.3), ("amortization", 0.0), ("elbo", 0.0)):
        without, with_it = (result.mean(name) for result in results)
        assert with_it.value == without.value
        assert with_it.standard_error == pytest.approx(math.hypot(without.standard_error, shared))
        assert with_it.monte_carlo_error == pytest.approx(math.hypot(without.monte_carlo_error, shared))
