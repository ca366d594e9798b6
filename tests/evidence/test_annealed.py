"""log p(x) by annealed importance sampling against closed forms, grids and importance sampling; every pair."""

import itertools
import math
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import NOT_ANNEALED, PAIRS, Own, Pyronic, patterns, some_pairs
from goodness_of_fit import assert_within_standard_errors
from pyro import poutine
from torch import nn

from pyro_vae import HeavyTail, annealed_log_marginal, log_marginal
from pyro_vae.evidence import annealed_chains
from pyro_vae.evidence.annealing_path import Path, flat, gradient, unconstrained
from pyro_vae.evidence.annealing_schedule import AnnealingSettings
from pyro_vae.objectives.kl_weights import scale_latents
from pyro_vae.pairs.contexts import evaluating
from pyro_vae.pairs.scoring import score_traces

# Few chains or a poor guide make heavy tails on purpose.
pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")

QUICK = {"num_chains": 8, "num_temperatures": 6, "num_leapfrog": 2}
STARTS = ["guide", "prior"]


@pytest.fixture(autouse=True)
def _short_warm_up(monkeypatch):
    """To save time: step sizes that are not quite adapted leave an estimate valid."""
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.FIRST_TRANSITIONS", 20)
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.LEAST_TRANSITIONS", 20)


@pytest.fixture
def x(linear):
    return linear.bias.detach() + 1.5 * torch.randn(23, 5)


def assert_agree(result, truth, *, largest_error):
    """Each image within 5 of its standard errors, their mean too, and the errors say something."""
    deviations = (result.log_prob - truth) / result.standard_error
    assert deviations.abs().max() < 5, deviations
    assert result.standard_error.max() < largest_error, result.standard_error
    assert abs(result.mean.value - truth.mean().item()) < 5 * result.mean.monte_carlo_error


# Closed forms


@pytest.mark.parametrize("start", STARTS)
def test_densities_in_float64_beside_networks_in_float32(linear, x, start):
    def exact(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = (z @ linear.weight.T + linear.bias).double()  # which float64 latents would not pass
            pyro.sample("x", dist.Normal(loc, linear.log_scale.double().exp()).to_event(1), obs=x.double())

    result = annealed_log_marginal(exact, linear.mediocre_guide, x[:5], start=start, num_temperatures=20)
    assert_agree(result, linear.log_prob(x[:5]), largest_error=0.5)


@pytest.mark.parametrize("start", STARTS)
def test_the_linear_gaussian_pair_has_the_log_p_it_should_have(linear, x, start):
    result = annealed_log_marginal(
        linear.model, linear.mediocre_guide, x, start=start, num_chains=60, num_temperatures=80, num_leapfrog=3
    )
    assert_agree(result, linear.log_prob(x), largest_error=0.4)
    assert (result.details["acceptance"] - 0.9).abs().max() < 0.15
    assert result.details["step_size"].shape == (23, 79)
    assert (result.num_samples == 60).all()


def test_estimates_lie_below_log_p_on_average(linear):
    """E[log_prob] < log p(x) by Jensen, less so with more temperatures; E[w] = p(x) whatever their number."""
    x = (linear.bias.detach() + torch.randn(5)).expand(400, 5)
    truth = linear.log_prob(x[:1]).item()
    few, many = (
        annealed_log_marginal(
            linear.model, linear.guide, x, start="prior", num_chains=4, num_temperatures=count, num_leapfrog=2
        ).log_prob
        for count in (3, 40)
    )
    errors = [draws.std().item() / math.sqrt(len(draws)) for draws in (few, many)]
    assert few.mean().item() < truth - 5 * errors[0]
    assert few.mean().item() < many.mean().item() - 5 * math.hypot(*errors)
    assert many.mean().item() < truth + 5 * errors[1]
    for draws in (few, many):
        assert_within_standard_errors((draws - truth).exp(), 1.0)


@pytest.mark.usefixtures("short_warm_up")
@pytest.mark.parametrize("num_temperatures", [1, 2, 7])
def test_the_exact_posterior_as_guide_has_no_error_at_any_temperature(linear, x, num_temperatures):
    settings = {**QUICK, "num_temperatures": num_temperatures}
    result = annealed_log_marginal(linear.model, linear.guide, x, **settings)
    torch.testing.assert_close(result.log_prob, linear.log_prob(x), rtol=1e-5, atol=1e-5)
    assert result.standard_error.max() < 1e-5


@pytest.mark.parametrize("name", ["linear Gaussian, mediocre guide", "two levels", "inner plate"])
def test_one_temperature_is_importance_sampling_with_the_same_weights(name):
    pair = PAIRS[name]()
    result = annealed_log_marginal(pair.model, pair.guide, pair.x, num_chains=9, num_temperatures=1)
    plain = log_marginal(pair.model, pair.guide, pair.x, num_samples=9, estimator="guide")
    torch.testing.assert_close(result.log_prob, plain.log_prob, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(result.standard_error, plain.standard_error, rtol=1e-3, atol=1e-5)
    assert result.details["acceptance"].isnan().all()
    assert result.details["step_size"].shape == (len(pair.x), 0)


def gamma_poisson(guided):
    """z ~ Gamma(3, 1.5), x ~ Poisson(z): log p(x) is negative binomial. The guide is a LogNormal, off the posterior."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Poisson(pyro.sample("z", dist.Gamma(3.0, 1.5))), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", guided(x))

    return model, guide


@pytest.mark.parametrize("start", STARTS)
def test_a_positive_latent_has_its_evidence(start):
    model, guide = gamma_poisson(lambda x: dist.LogNormal(((x + 1) / 2).log(), 1.0))
    x = torch.tensor([0.0, 1.0, 2.0, 5.0, 9.0])
    result = annealed_log_marginal(model, guide, x, start=start, num_chains=300, num_temperatures=30, num_leapfrog=3)
    truth = dist.NegativeBinomial(3.0, probs=torch.tensor(1 / 2.5)).log_prob(x).double()
    assert_agree(result, truth, largest_error=0.05)


@pytest.mark.parametrize("start", STARTS)
def test_a_simplex_and_a_support_that_depends_on_another_latent(start):
    """p ~ Dirichlet, s ~ Uniform(0, p_1), x ~ Normal(s, 0.3) against a grid: dimensions, Jacobians, dependence."""

    def latents(concentration):
        p = pyro.sample("p", dist.Dirichlet(concentration))
        return pyro.sample("s", dist.Uniform(torch.zeros(()), p[..., 0]))

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(latents(torch.tensor([2.0, 1.0, 1.5])), 0.1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            latents(torch.tensor([1.5, 1.5, 1.5]))

    x = torch.tensor([-0.05, 0.3, 0.7, 0.9])
    result = annealed_log_marginal(model, guide, x, start=start, num_chains=400, num_temperatures=40, num_leapfrog=3)
    grid = (torch.arange(2000).double() + 0.5) / 2000
    first, part = grid[:, None], grid[None, :]  # p_1 ~ Beta(2, 2.5), s = part * p_1
    weight = dist.Beta(torch.tensor(2.0).double(), torch.tensor(2.5).double()).log_prob(first).exp() / 2000**2
    truth = torch.stack([(weight * dist.Normal(part * first, 0.1).log_prob(v).exp()).sum() for v in x.double()]).log()
    assert_agree(result, truth, largest_error=0.25)


class Hierarchical(nn.Module):
    """z2 ~ N(0, 1), z1 ~ N(z2, 1), x ~ N(z1, 0.5^2), so that x ~ N(0, 2.25); guide q(z1|x) q(z2|z1), off it."""

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z2 = pyro.sample("z2", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(pyro.sample("z1", dist.Normal(z2, 1.0)), 0.5), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z2", dist.Normal(pyro.sample("z1", dist.Normal(0.5 * x, 1.0)) / 4, 1.0))


@pytest.mark.parametrize("start", STARTS)
def test_two_levels_have_their_evidence(start):
    pair, x = Hierarchical(), torch.tensor([-3.0, 0.0, 1.0, 4.0])
    settings = {"num_chains": 300, "num_temperatures": 40, "num_leapfrog": 3}
    result = annealed_log_marginal(pair.model, pair.guide, x, start=start, **settings)
    assert_agree(result, dist.Normal(0.0, 1.5).log_prob(x).double(), largest_error=0.25)


# A nonlinear decoder


@pytest.fixture
def curved():
    """Own, with a decoder that bends more than its start does, and an encoder that has learned nothing."""
    own = Own()
    with torch.no_grad():
        own.decode[0].weight *= 4
        own.decode[2].weight *= 8
    return own


def on_a_grid(own, x):
    """log p(x) by quadrature over the two latents, float64."""
    axis = torch.linspace(-6, 6, 400).double()
    z = torch.cartesian_prod(axis, axis)
    with torch.no_grad():
        logits = own.decode(z.float()).double()
    prior = dist.Normal(torch.zeros(()).double(), 1.0).log_prob(z).sum(-1)
    joint = (dist.Bernoulli(logits=logits).log_prob(v.double()).sum(-1) + prior for v in x)
    return torch.stack([j.logsumexp(0) for j in joint]) + 2 * (axis[1] - axis[0]).log()


def test_a_nonlinear_decoder_against_a_grid_where_importance_sampling_fails(curved):
    """From the prior it beats importance sampling from a poor guide at more evaluations of the decoder."""
    x = poutine.uncondition(curved.model)(torch.zeros(8, 12)).detach()
    with torch.no_grad():  # a guide that looks away from the posterior
        curved.encode[2].bias.copy_(torch.tensor([2.0, -2.0, -1.5, -1.5]))
    truth = on_a_grid(curved, x)
    settings = {"num_chains": 50, "num_temperatures": 60, "num_leapfrog": 3}
    result = annealed_log_marginal(curved.model, curved.guide, x, start="prior", **settings)
    assert_agree(result, truth, largest_error=0.4)
    poor = log_marginal(curved.model, curved.guide, x, num_samples=50 * 60 * 4 * 2, estimator="guide")
    ours, theirs = ((r.log_prob - truth).square().mean().sqrt().item() for r in (result, poor))
    assert ours < 0.2 * theirs, (ours, theirs)


def test_a_nonlinear_decoder_from_a_guide_that_is_not_far_off(curved):
    x = poutine.uncondition(curved.model)(torch.zeros(8, 12)).detach()
    settings = {"num_chains": 50, "num_temperatures": 60, "num_leapfrog": 3}
    result = annealed_log_marginal(curved.model, curved.guide, x, **settings)
    assert_agree(result, on_a_grid(curved, x), largest_error=0.4)


# The path


@pytest.mark.parametrize("name", ["VAE, CouplingFlow", "two levels", "inner plate", "raw convolution"])
def test_densities_along_the_path_are_those_of_the_pair(name):
    """At a draw of the guide: the same log-probabilities as the pair scored plainly; gradients as by differences."""
    pair = PAIRS[name]()
    with evaluating(pair.model, pair.guide):
        path = Path(pair.model, pair.guide, pair.x, 2, "guide")
        state = path.at(path.start)
        guide_trace = poutine.trace(pair.guide).get_trace(path.rows)
        model_trace = poutine.trace(poutine.replay(pair.model, trace=guide_trace)).get_trace(path.rows)
        plain = score_traces(model_trace, guide_trace, shape=(len(path.rows),))
        there = path.at(flat(unconstrained(model_trace)))
        torch.testing.assert_close(there.log_ratio, plain.log_weight, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(there.log_start, plain.log_guide, rtol=1e-4, atol=1e-4)
        direction = torch.randn_like(state.u)
        slope = (gradient(path.at, state.u, 0.3) * direction).sum(1)
        ahead, behind = (path.at(state.u + h * direction).log_density(0.3) for h in (5e-3, -5e-3))
        assert ((ahead - behind) / 1e-2 - slope).abs().median() < 0.02


def test_transitions_leave_their_distribution_as_it_is():
    """Draws of Gamma(3, 1.5) in log space, moved many times at one temperature, are still draws of it."""
    model, guide = gamma_poisson(lambda x: dist.Gamma(3.0, 1.5).expand(x.shape))
    with evaluating(model, guide):
        path = Path(model, guide, torch.zeros(1), 4000, "guide")
        state = path.at(path.start)
        for _ in range(10):
            state, acceptance = path.move(state, 0.0, torch.tensor([0.9]), 3)
    assert 0.5 < acceptance < 0.99
    assert (state.u != path.start).all(1).float().mean() > 0.9
    z = state.u[:, 0].exp()
    assert_within_standard_errors(z, 2.0)
    assert_within_standard_errors(z.square(), 3 / 1.5**2 + 4)
    assert_within_standard_errors(z.log(), (torch.digamma(torch.tensor(3.0)) - math.log(1.5)).item())


def test_the_schedule_goes_from_nothing_to_one():
    schedule = AnnealingSettings(1, 10, "prior", "sigmoid", 1, 1, 0.5).sigmoid().tolist()
    assert (schedule[0], schedule[-1], len(schedule)) == (0.0, 1.0, 11)
    steps = [b - a for a, b in itertools.pairwise(schedule)]
    assert min(steps) > 0
    assert steps == pytest.approx(steps[::-1])
    assert steps[0] < steps[4]


def walled(beyond):
    """z ~ N(0, 1), x ~ N(0, 1), and a factor that is 0 up to z = 1 and something else beyond."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(x.new_zeros(()), 1.0))
            pyro.sample("x", dist.Normal(x.new_zeros(()), 1.0), obs=x)
            pyro.factor("wall", torch.where(z > 1, beyond, 0.0))

    return model


def test_a_region_without_density_counts_as_none():
    """Chains that start there have weight zero: log p(x) = log N(x; 0, 1) + log P(z < 1)."""
    x = torch.tensor([0.0, 2.0])
    model = walled(-math.inf)
    result = annealed_log_marginal(model, model, x, start="prior", num_chains=500, num_temperatures=10, num_leapfrog=3)
    normal = dist.Normal(0.0, 1.0)
    assert_agree(result, (normal.log_prob(x) + normal.cdf(torch.tensor(1.0)).log()).double(), largest_error=0.05)


@pytest.mark.parametrize("beyond", [math.nan, math.inf, -math.inf])
def test_proposals_without_a_finite_density_are_rejected(beyond):
    model, x = walled(beyond), torch.zeros(3)
    with evaluating(model, model), pyro.validation_enabled(False):
        path = Path(model, model, x, 200, "prior")
        state = path.at(torch.zeros_like(path.start))
        for _ in range(30):
            state, acceptance = path.move(state, 0.5, torch.full((3,), 0.8), 3)
            assert (state.u < 1).all()
            assert state.log_joint.isfinite().all()
    assert (acceptance < 0.95).all()
    assert state.u.std() > 0.3


def test_trajectories_that_leave_the_numbers_are_rejected(linear, x):
    with evaluating(linear.model, linear.guide):
        path = Path(linear.model, linear.guide, x, 2, "guide")
        state = path.at(path.start)
        moved, acceptance = path.move(state, 0.5, torch.tensor(22 * [0.05] + [1e30]), 6)
    assert acceptance[-1] == 0
    assert (acceptance[:-1] > 0.5).all()
    assert torch.equal(moved.u[22::23], state.u[22::23])
    assert moved.u.isfinite().all()


# Any pair


@pytest.mark.parametrize(("name", "start"), some_pairs((n for n in PAIRS if n not in NOT_ANNEALED), STARTS))
def test_every_pair_has_an_estimate_that_repeats(name, start, request):
    request.getfixturevalue("short_warm_up")  # once more: shorter than the others of this file
    pair = PAIRS[name]()
    with pyro.get_param_store().scope():
        pair.guide(pair.x), pair.model(pair.x)
        state = torch.get_rng_state()
        result, again = (
            annealed_log_marginal(pair.model, pair.guide, pair.x[:7], start=start, seed=1, **QUICK) for _ in range(2)
        )
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(result.log_prob, again.log_prob)
    for values in (result.log_prob, result.standard_error, result.ess, result.details["acceptance"]):
        assert (values.shape, values.dtype, values.requires_grad) == ((7,), torch.float64, False)
        assert values.isfinite().all()
    assert ((result.ess >= 1 - 1e-9) & (result.ess <= 8 + 1e-9)).all()
    assert (result.details["acceptance"] > 0.2).all()


def test_another_seed_draws_other_numbers(linear, x):
    one, other = (
        annealed_log_marginal(linear.model, linear.mediocre_guide, x[:5], seed=seed, **QUICK) for seed in (1, 2)
    )
    assert not torch.isclose(one.log_prob, other.log_prob).any()


@pytest.mark.usefixtures("short_warm_up")
@pytest.mark.parametrize("chunk_size", [1, 20])
def test_chunks_do_not_change_an_exact_result(linear, x, chunk_size):
    result = annealed_log_marginal(linear.model, linear.guide, x[:5], chunk_size=chunk_size, **QUICK)
    torch.testing.assert_close(result.log_prob, linear.log_prob(x[:5]), rtol=1e-5, atol=1e-5)
    assert result.details["step_size"].shape == (5, 5)


@pytest.mark.usefixtures("short_warm_up")
@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize(
    "handler", [lambda f: poutine.scale(f, scale=0.1), lambda f: scale_latents(f, 0.0), lambda f: scale_latents(f, 7.0)]
)
def test_weights_of_the_training_do_not_reach_an_estimate(linear, x, handler, start):
    plain = annealed_log_marginal(linear.model, linear.mediocre_guide, x, start=start, **QUICK)
    pair = handler(linear.model), handler(linear.mediocre_guide)
    assert torch.equal(annealed_log_marginal(*pair, x, start=start, **QUICK).log_prob, plain.log_prob)


def test_modes_gradients_and_buffers_are_as_before():
    module, x = Own(), patterns(5, (12,))
    plain = annealed_log_marginal(module.model, module.guide, x, **QUICK)
    module.decode.insert(1, nn.Dropout(0.5))
    module.encode.insert(1, nn.BatchNorm1d(16))
    module.encode[1].eval()
    module.decode[0].weight.grad = torch.ones(16, 2)
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    again = annealed_log_marginal(module.model, module.guide, x, **QUICK)
    torch.testing.assert_close(again.log_prob, plain.log_prob, rtol=1e-2, atol=1e-2)  # batch norm divides by 1 + 1e-5
    assert module.decode[1].training
    assert not module.encode[1].training
    assert all(torch.equal(buffer, kept[name]) for name, buffer in module.named_buffers())
    assert all(p.requires_grad for p in module.parameters())
    assert torch.equal(module.decode[0].weight.grad, torch.ones(16, 2))
    assert all(p.grad is None for p in module.parameters() if p is not module.decode[0].weight)


def test_another_models_parameters_in_the_store_are_not_used():
    first, second, x = Pyronic(), Pyronic(), patterns(5, (12,))
    first.width = torch.tensor(2.0)
    alone = annealed_log_marginal(second.model, second.guide, x, **QUICK)
    with pyro.get_param_store().scope():
        first.model(x), first.guide(x)
        before = dict(pyro.get_param_store().named_parameters())
        beside = annealed_log_marginal(second.model, second.guide, x, **QUICK)
        after = dict(pyro.get_param_store().named_parameters())
    assert torch.equal(alone.log_prob, beside.log_prob)
    assert before.keys() == after.keys()
    assert all(after[name] is p for name, p in before.items())


def test_validation_switches_are_as_before_even_after_an_error(linear, x):
    def broken(batch):
        if not torch.distributions.Distribution._validate_args:
            raise RuntimeError("broken between the temperatures")
        return linear.model(batch)

    with pytest.raises(RuntimeError, match="broken between"):
        annealed_log_marginal(broken, linear.guide, x, **QUICK)
    assert torch.distributions.Distribution._validate_args
    assert pyro.distributions.is_validation_enabled()


def test_global_random_numbers_are_used_when_asked_for(linear, x):
    torch.manual_seed(3)
    first = annealed_log_marginal(linear.model, linear.mediocre_guide, x, seed=None, **QUICK)
    second = annealed_log_marginal(linear.model, linear.mediocre_guide, x, seed=None, **QUICK)
    torch.manual_seed(3)
    again = annealed_log_marginal(linear.model, linear.mediocre_guide, x, seed=None, **QUICK)
    assert torch.equal(first.log_prob, again.log_prob)
    assert not torch.equal(first.log_prob, second.log_prob)


def test_progress_is_shown_unless_it_is_short_or_unwanted(linear, x, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    annealed_log_marginal(linear.model, linear.guide, x, **QUICK)
    monkeypatch.setattr("pyro_vae.output.progress.PATIENCE", 0.0)
    annealed_log_marginal(linear.model, linear.guide, x, progress=False, **QUICK)
    assert capsys.readouterr().err == ""
    annealed_log_marginal(linear.model, linear.guide, x, **QUICK)
    assert "annealing: " in capsys.readouterr().err


def test_the_result_shows_itself(linear, x):
    result = annealed_log_marginal(linear.model, linear.guide, x, **QUICK)
    assert len(result) == 23
    assert repr(result).startswith(f"LogMarginal(log p(x): mean {result.mean.value:.3f} nats per data point")
    assert "8 samples each" in repr(result)
    assert repr(result).endswith("lower bound)")


# Errors and warnings


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"num_chains": 0}, r"Expected num_chains >= 1; got 0\."),
        ({"num_temperatures": 0}, r"Expected num_temperatures >= 1; got 0\."),
        ({"num_leapfrog": 0}, r"Expected num_leapfrog >= 1; got 0\."),
        ({"num_warmup_chains": 0}, r"Expected num_warmup_chains >= 1; got 0\."),
        ({"chunk_size": 0}, r"Expected chunk_size >= 1; got 0\."),
        ({"target_acceptance": 1.0}, r"Expected target_acceptance between 0 and 1; got 1\.0\."),
        ({"start": "posterior"}, r"Expected start 'guide' or 'prior'; got 'posterior'\."),
    ],
)
def test_wrong_settings_are_errors(linear, x, arguments, text):
    with pytest.raises(ValueError, match=text):
        annealed_log_marginal(linear.model, linear.guide, x, **arguments)


def test_no_images_are_an_error(linear, x):
    with pytest.raises(ValueError, match="Expected x to hold at least one data point"):
        annealed_log_marginal(linear.model, linear.guide, x[:0])


@pytest.mark.parametrize("start", STARTS)
def test_a_discrete_latent_is_an_error(start):
    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            return pyro.sample("kind", dist.Bernoulli(0.3))

    def model(x):
        kind = guide(x)
        with pyro.plate("images", len(x), dim=-1):
            pyro.sample("x", dist.Normal(kind, 1.0), obs=x)

    with pytest.raises(ValueError, match=r"Expected continuous latents.*'kind' is discrete.*log_marginal"):
        annealed_log_marginal(model, guide, torch.zeros(5), start=start, **QUICK)


@pytest.mark.parametrize(
    ("guided", "text"),
    [
        (lambda x: dist.Normal(x, 1.0), r"Expected the guide of site 'z' on the support of its prior, .*; got Real"),
        (lambda x: dist.Uniform(torch.zeros(len(x)), 0.5), r"of site 'z' to reach all of the support .*start='prior'"),
    ],
    ids=["too wide", "too narrow"],
)
def test_a_guide_on_another_support_is_an_error(guided, text):
    model, guide = gamma_poisson(guided)
    with pytest.raises(ValueError, match=text):
        annealed_log_marginal(model, guide, torch.zeros(20), **QUICK)


def test_a_point_mass_as_guide_is_an_error():
    model, guide = gamma_poisson(lambda x: dist.Delta(torch.ones(len(x))))
    with pytest.raises(ValueError, match=r"site 'z' is a point mass, .*start='prior'"):
        annealed_log_marginal(model, guide, torch.zeros(5), **QUICK)


def test_a_latent_outside_the_plate_is_an_error():
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(w, 1.0), obs=x)

    with pytest.raises(ValueError, match="Expected site 'w' inside the plate over the data"):
        annealed_log_marginal(model, model, torch.zeros(5), start="prior", **QUICK)


def test_a_model_without_latents_and_a_guide_that_misses_one_are_errors(linear, x):
    def nothing(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(x.new_zeros(5), 1.0).to_event(1), obs=x)

    with pytest.raises(ValueError, match="Expected a model with a latent site; got none"):
        annealed_log_marginal(nothing, nothing, x, start="prior", **QUICK)
    with pytest.raises(ValueError, match=r"it misses \['z'\]"):
        annealed_log_marginal(linear.model, lambda x: None, x, **QUICK)


def test_images_without_a_finite_estimate_are_warned_of(linear, x):
    def model(x):
        linear.model(x)
        with pyro.plate("again", len(x), dim=-1):
            pyro.factor("impossible", torch.where(x[:, 0] == 3, -math.inf, 0.0))

    x[:2, 0] = 3
    with pytest.warns(UserWarning, match=r"log p\(x, impossible\) is not finite for 2 of 23 data points: every weight"):
        result = annealed_log_marginal(model, linear.guide, x, **QUICK)
    assert (~result.log_prob.isfinite()).tolist() == [True] * 2 + [False] * 21


def test_images_whose_chains_hardly_moved_are_warned_of_and_flagged(linear, x, monkeypatch):
    monkeypatch.setattr(annealed_chains, "FIRST_STEP", 1e6)
    monkeypatch.setattr(annealed_chains, "FIRST_TRANSITIONS", 1)
    monkeypatch.setattr(annealed_chains, "LEAST_TRANSITIONS", 1)
    with pytest.warns(HeavyTail, match=r"accepted for 23 of 23 data points: their chains have hardly moved"):
        result = annealed_log_marginal(linear.model, linear.mediocre_guide, x, **QUICK)
    assert result.unreliable.all()
