"""Categorical and binary latents: relaxed while training, exact otherwise, against sums over all states."""

import math

import pyro
import pyro.distributions as dist
import pytest
import scipy.integrate
import torch
from examples import patterns, small_mlp, stirred
from goodness_of_fit import assert_counts_fit, assert_sampler_fits_density, assert_within_standard_errors
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceEnum_ELBO, config_enumerate
from torch.distributions import SigmoidTransform, TransformedDistribution

from pyro_vae import (
    VAE,
    Bernoulli,
    BernoulliEncoder,
    BernoulliPrior,
    CategoricalEncoder,
    CategoricalPrior,
    VampPrior,
    annealed_log_marginal,
    fit,
    log_marginal,
    sample,
)
from pyro_vae.distributions.log_ratio import AdditiveLogRatio
from pyro_vae.distributions.one_hot import OneHot
from pyro_vae.distributions.relaxed import RelaxedBernoulli, RelaxedOneHot
from pyro_vae.pairs.contexts import evaluating, seeded
from pyro_vae.pairs.scoring import score
from pyro_vae.training.optimizer import adam

# Distributions


def test_one_hot_draws_have_their_probabilities():
    fn = OneHot(torch.randn(2, 3))
    states = fn.enumerate_support()
    assert states.shape == (9, 6)
    assert len(states.unique(dim=0)) == 9
    torch.testing.assert_close(fn.log_prob(states).exp().sum(), torch.tensor(1.0))
    twin = dist.OneHotCategorical(logits=fn.logits).to_event(1)
    torch.testing.assert_close(fn.log_prob(states), twin.log_prob(states.view(9, 2, 3)))
    draws = fn.sample((20_000,))
    counts = (draws[:, None] == states).all(-1).sum(0).double()
    assert_counts_fit(counts, fn.log_prob(states).exp().double())
    torch.testing.assert_close((fn.log_prob(states).exp()[:, None] * states).sum(0), fn.mean)


def test_one_hot_states_are_enumerated_for_each_batch():
    fn = OneHot(torch.zeros(5, 4, 2, 3))
    assert fn.enumerate_support().shape == (9, 5, 4, 6)
    assert fn.enumerate_support(expand=False).shape == (9, 1, 1, 6)
    with pytest.raises(ValueError, match=r"Expected at most 10,000 states to enumerate; got 10 \*\* 20\. Use fewer"):
        OneHot(torch.zeros(20, 10)).enumerate_support()


@pytest.mark.parametrize("temperature", [0.3, 0.67, 2.0])
def test_relaxed_densities_are_torchs_where_nothing_rounds(temperature):
    logits = torch.randn(5, 2, 3).double()
    fn = RelaxedOneHot(temperature, logits)
    twin = dist.RelaxedOneHotCategorical(torch.tensor(temperature).double(), logits=logits).to_event(1)
    z = twin.sample((7,))
    torch.testing.assert_close(fn.log_prob(z.flatten(-2)), twin.log_prob(z))
    binary = RelaxedBernoulli(temperature, logits)
    twin = dist.RelaxedBernoulli(torch.tensor(temperature).double(), logits=logits)
    z = twin.sample((7,)).clamp(1e-5, 1 - 1e-5)
    torch.testing.assert_close(binary.log_prob(z), twin.log_prob(z))


def test_relaxed_draws_fit_their_density():
    """In coordinates where the density ends nowhere; a draw's own logarithm is not used there."""
    ratios = TransformedDistribution(RelaxedOneHot(0.6, torch.randn(1, 3)), [AdditiveLogRatio().inv])
    assert_sampler_fits_density(ratios)
    odds = TransformedDistribution(RelaxedBernoulli(0.6, torch.randn(2)).to_event(1), [SigmoidTransform().inv])
    assert_sampler_fits_density(odds)


@pytest.mark.parametrize(
    "make", [lambda: RelaxedOneHot(0.5, torch.randn(6, 2, 3)), lambda: RelaxedBernoulli(0.5, torch.randn(6))]
)
def test_a_draw_and_a_copy_of_it_have_the_same_density(make):
    fn = make()
    z = fn.rsample((50,))
    torch.testing.assert_close(fn.log_prob(z), fn.log_prob(z.clone()), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("logit", [1.0, 12.0, 40.0])
def test_a_saturated_draw_has_its_rate_all_the_same(logit):
    """In float32 such a draw is 1; KL between relaxed variables of one temperature is that of their logistic noise."""

    def integrand(u):  # of log q - log p, over the noise of q
        log_q = -abs(u) - 2 * math.log1p(math.exp(-abs(u)))
        return math.exp(log_q) * (log_q + abs(u + logit) + 2 * math.log1p(math.exp(-abs(u + logit))))

    truth = scipy.integrate.quad(integrand, -60, 60, points=[-logit, 0.0], limit=200)[0]
    q, p = RelaxedBernoulli(0.5, torch.full((20_000,), logit)), RelaxedBernoulli(0.5, torch.zeros(20_000))
    z = q.rsample()
    assert_within_standard_errors(q.log_prob(z) - p.log_prob(z), truth)
    pair = torch.tensor([logit, 0.0]).expand(20_000, 1, 2)
    q, p = RelaxedOneHot(0.2, pair), RelaxedOneHot(0.2, torch.zeros(20_000, 1, 2))
    z = q.rsample()
    assert_within_standard_errors(q.log_prob(z) - p.log_prob(z), truth)


def test_relaxed_draws_become_the_discrete_ones():
    logits = torch.randn(2, 3)
    exact = OneHot(logits)
    distance = []
    for temperature in (1.0, 0.1, 0.01):
        z = RelaxedOneHot(temperature, logits).rsample((20_000,)).view(-1, 2, 3)
        nearest = torch.nn.functional.one_hot(z.argmax(-1), 3).float()
        counts = (nearest.flatten(1)[:, None] == exact.enumerate_support()).all(-1).sum(0).double()
        assert_counts_fit(counts, exact.log_prob(exact.enumerate_support()).exp().double())  # at any temperature
        distance.append((z - nearest).abs().mean().item())
    assert distance[2] < distance[1] / 5 < distance[0] / 10
    z = RelaxedBernoulli(0.01, torch.tensor(0.8)).rsample((20_000,))
    assert ((z - z.round()).abs() > 0.01).float().mean() < 0.03
    assert_within_standard_errors(z.round(), torch.tensor(0.8).sigmoid().item())


def test_the_relaxed_rate_is_above_the_discrete_one_at_any_temperature():
    """A one-hot vector is a function of the relaxed draw, and a temperature is a change of coordinates."""
    logits, rates = torch.tensor([[2.0, 0.0, -1.0]]), []
    discrete = torch.distributions.kl_divergence(*(dist.Categorical(logits=a[0]) for a in (logits, 0 * logits))).item()
    for temperature in (0.2, 1.0):
        q, p = (RelaxedOneHot(temperature, a.expand(20_000, 1, 3)) for a in (logits, 0 * logits))
        z = q.rsample()
        rates.append(q.log_prob(z) - p.log_prob(z))
        assert rates[-1].mean() > discrete + 5 * rates[-1].std() / 20_000**0.5
    assert_within_standard_errors(rates[0] - rates[1], 0.0)


# Pairs


def vae(prior, encoder, latent_dim, **options):
    px = Bernoulli((3, 4))
    pz, qz = prior(latent_dim, **options), encoder((3, 4), latent_dim, network=small_mlp, **options)
    return stirred(VAE(pz, qz, small_mlp(latent_dim, px.feature_shape), px), scale=0.3)


def states_of(module, latent_dim):
    """All states of the latents, (S, D)."""
    if isinstance(module.prior, CategoricalPrior):
        return OneHot(module.prior.logits).enumerate_support()
    return torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * latent_dim)


@torch.no_grad()
def by_sums(module, x, latent_dim):
    """log p(x) and the ELBO of each image (B,), by sums over all states."""
    states = states_of(module, latent_dim)[:, None]  # (S, 1, D)
    log_joint = module.prior().log_prob(states) + module.likelihood(module.decoder(states)).log_prob(x)
    log_q = module.encoder(x).log_prob(states.expand(-1, len(x), -1))
    return log_joint.logsumexp(0), (log_q.exp() * (log_joint - log_q)).sum(0)


MODULES = {
    "one variable": lambda: (vae(CategoricalPrior, CategoricalEncoder, 4), 4),
    "two variables": lambda: (vae(CategoricalPrior, CategoricalEncoder, 6, num_categories=3), 6),
    "three bits": lambda: (vae(BernoulliPrior, BernoulliEncoder, 3), 3),
}


@pytest.mark.parametrize("name", MODULES)
def test_estimates_are_those_of_the_discrete_model(name):
    module, latent_dim = MODULES[name]()
    x = patterns(9, (3, 4))
    assert module.training
    result = log_marginal(module.model, module.guide, x, num_samples=5000, chunk_size=7000, estimator="guide")
    log_p, elbo = by_sums(module.eval(), x, latent_dim)
    assert ((result.log_prob - log_p).abs() < 5 * result.standard_error).all()
    assert not result.unreliable.any()  # few different weights are no heavy tail
    rows = x[:1].expand(20_000, 3, 4)
    with torch.no_grad():
        assert_within_standard_errors(score(module.model, module.guide, rows).log_weight, elbo[0].item())
    drawn, mean = sample(module.model, x)
    assert drawn.shape == mean.shape == x.shape


@pytest.mark.parametrize("name", MODULES)
def test_fit_trains_the_relaxed_pair_and_validates_the_exact_one(name):
    module, _ = MODULES[name]()
    x = patterns(60, (3, 4))
    trained, validated = [], []

    def note(_, __, fn):
        (trained if module.training else validated).append(fn)

    hook = module.encoder.register_forward_hook(note)
    result = fit(
        module.model, module.guide, x, validation=x, epochs=6, batch_size=20, optimizer=adam(0.02), progress=False
    )
    hook.remove()
    assert not any(fn.support.is_discrete for fn in trained)
    assert all(fn.support.is_discrete for fn in validated)
    assert len(trained) >= 18
    assert len(validated) >= 6
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    with evaluating(result.model, result.guide), seeded(0):
        elbo = score(result.model, result.guide, x).log_weight.mean().item()
    assert elbo == pytest.approx(result.history[result.best_epoch - 1]["validation_elbo"], rel=1e-5)


@pytest.mark.parametrize("name", MODULES)
def test_the_relaxed_bound_trains_both_by_pathwise_gradients(name):
    module, _ = MODULES[name]()
    x = patterns(9, (3, 4))
    trace = poutine.trace(module.guide).get_trace(x)
    assert trace.nodes["z"]["fn"].has_rsample
    prior = poutine.trace(poutine.replay(module.model, trace=trace)).get_trace(x).nodes["z"]["fn"]
    assert repr(prior.support) == repr(trace.nodes["z"]["fn"].support)
    Trace_ELBO().differentiable_loss(module.model, module.guide, x).backward()
    assert all(p.grad.isfinite().all() and p.grad.abs().sum() > 0 for p in module.parameters())


@pytest.mark.parametrize("name", ["one variable", "two variables"])
def test_enumeration_is_the_sum_over_states(name):
    module, latent_dim = MODULES[name]()
    x = patterns(9, (3, 4))
    log_p, elbo = by_sums(module.eval(), x, latent_dim)
    exact = TraceEnum_ELBO(max_plate_nesting=1)
    enumerated = exact.loss(module.model, config_enumerate(module.guide), x)
    assert enumerated == pytest.approx(-elbo.sum().item(), rel=1e-5)
    without_guide = exact.loss(config_enumerate(module.model), lambda x: None, x)
    assert without_guide == pytest.approx(-log_p.sum().item(), rel=1e-5)


def test_one_variable_is_trained_by_enumeration():
    module, x = vae(CategoricalPrior, CategoricalEncoder, 3, temperature=None), patterns(60, (3, 4))
    exact = TraceEnum_ELBO(max_plate_nesting=1)
    guide = config_enumerate(module.guide)
    options = {"epochs": 150, "batch_size": 60, "optimizer": adam(0.03), "progress": False}
    result = fit(module.model, guide, x, objective=exact, **options)
    log_p, elbo = by_sums(module, x, 3)
    assert result.history[-1]["loss"] == pytest.approx(-elbo.mean().item(), abs=0.02)  # that of the step before
    assert log_p.mean() - elbo.mean() < 0.1
    assert elbo.mean() > -4  # three patterns with 5% of 12 pixels flipped: log(3) + 12 * 0.2 = 3.5 nats at best


def test_without_a_temperature_draws_are_exact_in_training_too():
    module = vae(BernoulliPrior, BernoulliEncoder, 3, temperature=None)
    x = patterns(9, (3, 4))
    assert module.training
    assert module.encoder(x).support.is_discrete
    with pyro.get_param_store().scope():
        pyro.module("vae", module)
        optimizer = pyro.optim.SGD({"lr": 1e-3})
        assert SVI(module.model, module.guide, optimizer, Trace_ELBO()).step(x) > 0  # by score-function gradients


def test_a_vamp_prior_is_relaxed_and_exact_as_its_encoder_is():
    qz, px, x = CategoricalEncoder((3, 4), 4, network=small_mlp), Bernoulli((3, 4)), patterns(40, (3, 4))
    module = stirred(VAE(VampPrior(qz, x, num_components=3), qz, small_mlp(4, px.feature_shape), px), scale=0.3)
    result = fit(module.model, module.guide, x, validation=x, epochs=2, batch_size=20, progress=False)
    assert result.history[1]["validation_elbo"] > -20
    prior = module.eval().prior()
    torch.testing.assert_close(prior.log_prob(torch.eye(4)).exp().sum(), torch.tensor(1.0))
    found = log_marginal(module.model, module.guide, x[:5], num_samples=2000, estimator="guide")
    with torch.no_grad():
        states = torch.eye(4)[:, None]
        log_p = (prior.log_prob(states) + module.likelihood(module.decoder(states)).log_prob(x[:5])).logsumexp(0)
    assert ((found.log_prob - log_p).abs() < 5 * found.standard_error).all()


@pytest.mark.parametrize(("of_prior", "of_encoder"), [(None, 0.5), (0.5, None)])
def test_relaxed_and_exact_parts_do_not_go_together(of_prior, of_encoder):
    px, x = Bernoulli((3, 4)), patterns(8, (3, 4))
    for prior, encoder in ((CategoricalPrior, CategoricalEncoder), (BernoulliPrior, BernoulliEncoder)):
        qz = encoder((3, 4), 4, temperature=of_encoder, network=small_mlp)
        module = VAE(prior(4, temperature=of_prior), qz, small_mlp(4, px.feature_shape), px)
        with pytest.raises(
            ValueError, match=r"on the support of its prior, .* with a temperature in both or in neither"
        ):
            fit(module.model, module.guide, x, epochs=1, progress=False)


def test_annealing_refuses_discrete_latents():
    module, _ = MODULES["three bits"]()
    with pytest.raises(ValueError, match=r"Expected continuous latents, .*; site 'z' is discrete\. .* log_marginal\."):
        annealed_log_marginal(module.model, module.guide, patterns(3, (3, 4)), num_temperatures=3)


# Errors


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: CategoricalPrior(7, 3), r"divisible by num_categories >= 2; got 7 and 3\. .*, such as 6\."),
        (lambda: CategoricalPrior(1), r"divisible by num_categories >= 2; got 1 and 1\. .*, such as 2\."),
        (lambda: CategoricalEncoder(3, 2, num_categories=4), r"got 2 and 4\. .*, such as 4\."),
        (lambda: CategoricalPrior(4, temperature=0.0), r"Expected a finite temperature > 0; got 0\.0\. .* give None\."),
        (lambda: CategoricalEncoder(3, 4, temperature=-1.0), r"Expected a finite temperature > 0; got -1\.0"),
        (lambda: BernoulliPrior(0), r"Expected dim >= 1; got 0\."),
        (lambda: BernoulliEncoder(3, 0), r"Expected latent_dim >= 1; got 0\."),
        (lambda: BernoulliEncoder(3, 2, temperature=0.0), r"Expected a finite temperature > 0"),
        (lambda: BernoulliPrior(2, temperature=0.0), r"Expected a finite temperature > 0"),
    ],
)
def test_errors_say_what_was_expected(build, text):
    with pytest.raises(ValueError, match=text):
        build()


def test_repr_shows_the_configuration():
    assert repr(CategoricalPrior(6, 3)) == "CategoricalPrior(dim=6, num_categories=3, temperature=0.5)"
    assert repr(BernoulliPrior(6, None)) == "BernoulliPrior(dim=6, temperature=None)"
    assert repr(BernoulliEncoder(3, 2)).startswith("BernoulliEncoder(\n  temperature=0.67\n  (network): MLP(")
