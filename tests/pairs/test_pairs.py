"""What is asked of a pair: its modules, its state, and its log-probabilities against hand-computed ones."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import score_particles
from examples import PAIRS, LinearGaussian, Own, Pyronic, Undecorated, bound, patterns, vae
from goodness_of_fit import assert_within_standard_errors
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from torch import nn

from pyro_vae import fit, log_marginal
from pyro_vae.pairs.contexts import evaluating, seeded
from pyro_vae.pairs.modules import announcing, is_bound, modules_of
from pyro_vae.pairs.scoring import score, traces
from pyro_vae.pairs.state import get_state, set_state, with_store

NORMAL = dist.Normal(0.0, 1.0)


@pytest.fixture(params=PAIRS)
def pair(request):
    return PAIRS[request.param]()


# Scores


@pytest.mark.usefixtures("scope")
def test_scores_are_one_number_for_each_image(pair):
    scores = score(pair.model, pair.guide, pair.x)
    for term in (scores.log_likelihood, scores.log_prior, scores.log_guide, scores.log_weight):
        assert term.shape == (len(pair.x),)
        assert term.isfinite().all()
    torch.testing.assert_close(-(scores.rate + scores.distortion), scores.log_weight)


@pytest.mark.usefixtures("scope")
def test_scores_of_a_draw_sum_to_pyros_elbo_of_that_draw(pair):
    pair.guide(pair.x), pair.model(pair.x)  # makes parameters that are drawn on the first call
    with seeded(3), torch.no_grad():
        elbo = -Trace_ELBO().loss(pair.model, pair.guide, pair.x)
    with seeded(3), torch.no_grad():
        log_weight = score(pair.model, pair.guide, pair.x).log_weight
    assert log_weight.sum().item() == pytest.approx(elbo, rel=1e-5)


def test_scores_are_the_formula():
    linear = LinearGaussian()
    x = torch.randn(6, 5)
    with torch.no_grad():
        trace = poutine.trace(linear.mediocre_guide).get_trace(x)
        scores = score(linear.model, poutine.replay(linear.mediocre_guide, trace=trace), x)
        z, scale = trace.nodes["z"]["value"], linear.log_scale.exp()
        q = linear.mediocre_posterior(x).base_dist
        expected = NORMAL.log_prob((x - z @ linear.weight.T - linear.bias) / scale).sum(-1) - 5 * linear.log_scale
        torch.testing.assert_close(scores.log_likelihood, expected)
        torch.testing.assert_close(scores.log_prior, NORMAL.log_prob(z).sum(-1))
        expected = (NORMAL.log_prob((z - q.loc) / q.scale) - q.scale.log()).sum(-1)
        torch.testing.assert_close(scores.log_guide, expected)


def test_particles_have_scores_of_their_own():
    linear = LinearGaussian()
    x = torch.randn(6, 5)
    with torch.no_grad():
        scores = score_particles(linear.model, linear.mediocre_guide, x, 4)
        weights = score_particles(linear.model, linear.guide, x, 4).log_weight
    assert scores.log_weight.shape == scores.log_prior.shape == (4, 6)
    assert len(scores.log_prior.unique()) == 24
    # With the exact posterior every weight is p(x) itself.
    torch.testing.assert_close(weights.double(), linear.log_prob(x).expand(4, 6), rtol=1e-5, atol=1e-5)


def test_the_mean_rate_is_the_kl_divergence():
    pair = vae("StandardNormal")
    module = pair.model.__self__
    rows = pair.x[:1].expand(20_000, 3, 4)
    with torch.no_grad():
        q = module.encoder(pair.x[:1])
        truth = torch.distributions.kl_divergence(q.base_dist, NORMAL).sum().item()
        assert_within_standard_errors(score(pair.model, pair.guide, rows).rate, truth)


def test_scales_do_not_count():
    pair = bound(Own())
    scaled = [poutine.scale(function, scale=0.1) for function in (pair.model, pair.guide)]
    with seeded(0):
        plain = score(pair.model, pair.guide, pair.x)
    with seeded(0):
        assert torch.equal(score(*scaled, pair.x).log_weight, plain.log_weight)


def normal_guide(x):
    with pyro.plate("data", len(x), dim=-1):
        return pyro.sample("z", dist.Normal(x[:, 0], 2.0))


def normal_model(x):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z[..., None], 1.0).expand([*z.shape, x.shape[1]]).to_event(1), obs=x)


@pytest.mark.parametrize("num_particles", [None, 3])
def test_masks_count_inside_the_distribution_and_by_a_handler(num_particles):
    x, seen = torch.randn(5, 4), torch.rand(5, 4) < 0.5

    def inside(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z[..., None], 1.0).expand([*z.shape, 4]).mask(seen).to_event(1), obs=x)

    def by_handler(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            for d in range(4):
                with poutine.mask(mask=seen[:, d]):
                    pyro.sample(f"x_{d}", dist.Normal(z, 1.0), obs=x[:, d])

    with seeded(1):
        z = normal_guide(x) if num_particles is None else dist.Normal(x[:, 0], 2.0).sample((num_particles,))
    expected = torch.where(seen, NORMAL.log_prob(x - z[..., None]), 0).sum(-1)
    for model in (inside, by_handler):
        with seeded(1):
            scores = score_particles(model, normal_guide, x, num_particles)
        torch.testing.assert_close(scores.log_likelihood, expected)


def test_a_site_masked_away_counts_nothing():
    def half_masked(x):
        with poutine.mask(mask=torch.tensor([True, False])):
            normal_guide(x)

    x = torch.randn(2, 4)
    scores = score(normal_model, half_masked, x)
    assert scores.log_guide[1] == 0
    assert scores.log_guide[0] != 0


def test_deterministic_sites_and_factors():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.deterministic("shown", z.exp())
            pyro.factor("extra", -z.square())
            pyro.sample("x", dist.Normal(z, 1.0), obs=x[:, 0])

    x = torch.randn(5, 1)
    with seeded(2):
        scores = score(model, normal_guide, x)
    with seeded(2):
        z = normal_guide(x)
    torch.testing.assert_close(scores.log_likelihood, NORMAL.log_prob(x[:, 0] - z) - z.square())


def test_auxiliary_sites_of_the_guide_belong_to_its_density():
    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            a = pyro.sample("a", dist.Normal(x[:, 0], 1.0), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(a))

    x = torch.randn(5, 2)
    scores = score(normal_model, guide, x)
    with torch.no_grad(), seeded(0):
        trace = poutine.trace(guide).get_trace(x)
        scores = score(normal_model, poutine.replay(guide, trace=trace), x)
    torch.testing.assert_close(scores.log_guide, NORMAL.log_prob(trace.nodes["a"]["value"] - x[:, 0]))


# Errors


def with_a_site(function, name, **infer):
    def more(x):
        with pyro.plate("more", len(x), dim=-1):
            pyro.sample(name, dist.Normal(0.0, 1.0), infer=infer)
        return function(x)

    return more


def test_missing_and_surplus_sites_are_errors():
    x = torch.randn(5, 2)
    with pytest.raises(
        ValueError, match=r"Expected the guide to sample every latent site of the model; it misses \['w'\]"
    ):
        traces(with_a_site(normal_model, "w"), normal_guide, x)
    with pytest.raises(ValueError, match=r"Expected every site of the guide in the model; the guide alone has \['w'\]"):
        traces(normal_model, with_a_site(normal_guide, "w"), x)
    traces(normal_model, with_a_site(normal_guide, "w", is_auxiliary=True), x)


def test_data_that_the_model_draws_are_to_be_observed():
    """A site with the name of an argument, or, where nothing is observed, with the shape of one: not one to guide."""
    x, y = torch.randn(5, 2), torch.randn(5)

    def named(x, y):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("y", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0))
            pyro.sample("x", dist.Normal(y[:, None], 1.0).expand([len(x), 2]).to_event(1), obs=x)

    def alike(counts):
        with pyro.plate("data", len(counts), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("pixels", dist.Normal(z[:, None], 1.0).expand([len(counts), 2]).to_event(1))

    def guide(x, *others):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    for model, inputs, site, argument in ((named, (x, y), "y", "y"), (alike, x, "pixels", "counts")):
        with pytest.raises(ValueError, match=rf"got site '{site}' without obs=. Write .*, obs={argument}\)"):
            fit(model, guide, inputs, progress=False)


def test_a_module_without_forward_is_not_taken_for_a_model():
    pair = vae("StandardNormal")
    for call in (fit, log_marginal):
        with pytest.raises(TypeError, match=r"got the module VAE, .* such as vae\.model and vae\.guide"):
            call(pair.model.__self__, pair.guide, pair.x)


def outside_model(x):
    w = pyro.sample("w", dist.Normal(0.0, 1.0))
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("x", dist.Normal(w, 1.0), obs=x[:, 0])


def plateless_model(x):
    pyro.sample("x", dist.Normal(0.0, 1.0).expand([len(x)]).to_event(1), obs=x[:, 0])


@pytest.mark.parametrize(
    ("model", "guide", "site"),
    [
        (outside_model, lambda x: pyro.sample("w", dist.Normal(0.0, 1.0)), "w"),
        (plateless_model, lambda x: None, "x"),
    ],
)
@pytest.mark.parametrize("num_particles", [None, 3])
def test_a_site_outside_the_plate_is_an_error(model, guide, site, num_particles):
    with pytest.raises(
        ValueError, match=rf"Expected site '{site}' inside the plate over the data, .* it is outside, so log"
    ):
        score_particles(model, guide, torch.randn(5, 2), num_particles)


# Modules and their state


def test_modules_are_found_behind_methods_handlers_and_functions():
    own, other = Own(), Own()
    assert modules_of(own.model, own.guide) == {"pair": own}
    assert modules_of(own.model, other.guide) == {"model": own, "guide": other}
    handled = [poutine.scale(function, scale=0.5) for function in (own.model, own.guide)]
    assert modules_of(*handled) == {"pair": own}
    assert is_bound(*handled)

    pair = PAIRS["functions with pyro.module"]()
    assert set(modules_of(pair.model, pair.guide)) == {"decode", "encode"}
    assert not is_bound(pair.model, pair.guide)
    assert not is_bound(own.model, pair.guide)

    @functools.wraps(own.model)
    def wrapped(x):
        return own.model(x)

    assert modules_of(wrapped, own.guide) == {"pair": own}
    assert modules_of(normal_model, normal_guide) == {}


class Callable(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function, self.weight = function, nn.Parameter(torch.ones(()))

    def forward(self, x):
        return self.function(self.weight * x)


def test_a_module_that_is_called_is_its_own_owner():
    model, guide = Callable(normal_model), Callable(normal_guide)
    assert modules_of(model, guide) == {"model": model, "guide": guide}


@pytest.mark.usefixtures("scope")
def test_a_step_of_svi_trains_every_parameter_of_an_announcing_pair(pair):
    pair.guide(pair.x), pair.model(pair.x)
    modules, store = modules_of(pair.model, pair.guide), pyro.get_param_store()
    before = get_state(modules, store)
    SVI(*announcing(pair.model, pair.guide), pyro.optim.SGD({"lr": 1e-3}), Trace_ELBO()).step(pair.x)
    after = get_state(modules, store)
    assert before.keys() == after.keys()
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert not still - {"pair.likelihood.bias"}  # a buffer


@pytest.mark.usefixtures("scope")
@pytest.mark.parametrize("make", [Own, Pyronic, Undecorated])
def test_methods_under_a_handler_train_as_well(make):
    module = make()
    handled = [poutine.scale(function, scale=0.5) for function in (module.model, module.guide)]
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    SVI(*announcing(*handled), pyro.optim.SGD({"lr": 1e-3}), Trace_ELBO()).step(patterns(9, (12,)))
    assert all(not torch.equal(p, before[name]) for name, p in module.named_parameters())


def test_frozen_parameters_are_not_announced(scope):
    module = Own()
    module.encode.requires_grad_(False)
    model, guide = announcing(module.model, module.guide)
    model(patterns(4, (12,))), guide(patterns(4, (12,)))
    assert set(scope.keys()) == {f"pair$$$decode.{n}" for n, _ in module.decode.named_parameters()}


def test_a_state_is_a_copy_and_can_be_put_back(pair, scope):
    pair.guide(pair.x), pair.model(pair.x)
    modules = modules_of(pair.model, pair.guide)
    state = get_state(modules, scope)
    with seeded(0):
        expected = score(pair.model, pair.guide, pair.x).log_weight
    held = [p for m in modules.values() for p in m.parameters()] + [p for _, p in scope.named_parameters()]
    with torch.no_grad():
        for p in held:
            p.add_(0.02)
    with seeded(0):
        assert not torch.equal(score(pair.model, pair.guide, pair.x).log_weight, expected)
    set_state(modules, scope, state)
    with seeded(0):
        assert torch.equal(score(pair.model, pair.guide, pair.x).log_weight, expected)


def test_a_state_names_constrained_parameters_without_their_constraint(scope):
    pair = PAIRS["functions with pyro.param"]()
    pair.guide(pair.x)
    state = get_state({}, scope)
    assert set(state) == {"param.q_weight", "param.q_scale"}
    torch.testing.assert_close(state["param.q_scale"], torch.tensor([0.5, 2.0]).log())
    assert state["param.q_scale"].requires_grad is False


def test_functions_can_keep_a_store_of_their_own(scope):
    pair = PAIRS["functions with pyro.param"]()
    with scope.scope() as state:
        pair.guide(pair.x)
        pyro.get_param_store()["q_scale"] = torch.tensor([3.0, 4.0])
    _, guide = with_store(pair.model, pair.guide, state)
    scale = poutine.trace(guide).get_trace(pair.x).nodes["z"]["fn"].base_dist.scale
    torch.testing.assert_close(scale[0], torch.tensor([3.0, 4.0]))
    assert not list(scope.keys())


# Evaluation mode and random streams


def test_evaluation_mode_is_put_on_and_taken_off():
    module = Own()
    module.encode.eval()  # a frozen part of a module that trains otherwise
    before = {name: m.training for name, m in module.named_modules()}
    with evaluating(module.model, module.guide):
        assert not any(m.training for m in module.modules())
        assert not torch.is_grad_enabled()
    assert {name: m.training for name, m in module.named_modules()} == before
    with pytest.raises(KeyError), evaluating(module.model, module.guide):
        raise KeyError
    assert {name: m.training for name, m in module.named_modules()} == before
    assert torch.is_grad_enabled()


def test_evaluating_a_module_ignores_another_models_parameters_of_the_same_name(scope):
    first, second = Pyronic(), Pyronic()
    first.width = torch.tensor(2.0)
    x = patterns(4, (12,))
    first.model(x), first.guide(x)
    names = set(scope.keys())
    with seeded(0), evaluating(second.model, second.guide):
        inside = score(second.model, second.guide, x).log_weight
    with scope.scope(), seeded(0):
        expected = score(second.model, second.guide, x).log_weight
    assert torch.equal(inside, expected)
    assert set(scope.keys()) == names


def test_a_seeded_stream_repeats_and_leaves_the_global_one():
    state = torch.get_rng_state()
    with seeded(5):
        first = torch.rand(3)
    assert torch.equal(torch.get_rng_state(), state)
    with seeded(5):
        assert torch.equal(torch.rand(3), first)
    with seeded(None):
        torch.rand(3)
    assert not torch.equal(torch.get_rng_state(), state)
