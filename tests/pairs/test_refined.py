"""Guides refined per image: what they reach, and that they stay guides like any other."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import LinearGaussian, patterns, small_mlp, stirred, vae
from pyro import poutine
from pyro.infer import Trace_ELBO

from pyro_vae import (
    IAF,
    MLP,
    VAE,
    Bernoulli,
    CompiledELBO,
    FullRankEncoder,
    GaussianEncoder,
    LowRankEncoder,
    SemiAmortizedVAE,
    StandardNormal,
    annealed_log_marginal,
    fit,
    log_marginal,
    refined,
)
from pyro_vae.pairs.modules import announcing
from pyro_vae.pairs.scoring import score


def guide_trace(guide, x):
    return poutine.trace(guide).get_trace(x)


@pytest.fixture
def linear():
    """A model with exactly known posterior and log p(x), and a guide of the right mean, too wide by 40%."""
    module = LinearGaussian(latent_dim=3)
    return module, module.bias.detach() + 2 * torch.randn(6, 5)


def test_reaches_the_best_diagonal_gaussian(linear):
    """Posterior mean, and the standard deviation given all other dimensions."""
    module, x = linear

    def elsewhere(x):
        with pyro.plate("data", len(x), dim=-1):
            qz = module.mediocre_posterior(x).base_dist
            pyro.sample("z", type(qz)(qz.loc + 1.0, 0.5 * qz.scale).to_event(1))

    found = guide_trace(refined(module.model, elsewhere, num_steps=400), x).nodes["z"]["fn"]
    posterior = module.posterior(x)
    best = posterior.precision_matrix.diagonal(dim1=-2, dim2=-1).rsqrt()
    assert ((found.mean - posterior.mean) / best).abs().max() < 0.1
    assert (found.stddev / best).log().abs().max() < 0.1


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
@pytest.mark.parametrize("encoder", [GaussianEncoder, FullRankEncoder, LowRankEncoder])
def test_raises_the_elbo_and_the_effective_sample_size(encoder):
    px = Bernoulli((3, 4))
    qz = stirred(encoder((3, 4), 2, network=small_mlp))
    module = VAE(StandardNormal(2), qz, small_mlp(2, px.feature_shape), px)
    x = patterns(24, (3, 4))
    result = fit(module.model, module.guide, x, epochs=30, progress=False)
    better = refined(result.model, result.guide)
    elbos = [score(result.model, guide, x.repeat(100, 1, 1)).log_weight.detach() for guide in (result.guide, better)]
    gain = (elbos[1] - elbos[0]).view(100, 24).mean(1)
    assert gain.mean() > 5 * gain.std() / 100**0.5
    before, after = (
        log_marginal(result.model, guide, x, num_samples=500, estimator="guide") for guide in (result.guide, better)
    )
    assert after.ess.mean() > before.ess.mean()
    assert after.mean.monte_carlo_error < before.mean.monte_carlo_error


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
def test_estimates_of_log_p_stay_right(linear):
    module, x = linear
    guide = refined(module.model, module.mediocre_guide, num_steps=3)
    truth = module.log_prob(x)
    for chunk_size in (4096, 400):  # one chunk, and chunks of images and of draws
        result = log_marginal(module.model, guide, x, num_samples=1000, chunk_size=chunk_size, estimator="guide")
        assert ((result.log_prob - truth).abs() < 5 * result.standard_error).all()
    annealed = annealed_log_marginal(module.model, guide, x, num_chains=50, num_temperatures=5, num_leapfrog=1)
    assert ((annealed.log_prob - truth).abs() < 5 * annealed.standard_error).all()


def test_an_image_is_refined_alike_wherever_it_stands(linear):
    module, x = linear
    guide = refined(module.model, module.mediocre_guide)
    whole = guide_trace(guide, x).nodes["z"]["fn"]
    part = guide_trace(guide, x[[4, 1, 4]]).nodes["z"]["fn"]
    with pyro.plate("particles", 7, dim=-2):
        plated = guide_trace(guide, x).nodes["z"]
    assert plated["value"].shape == (7, 6, 3)
    assert len(plated["value"].flatten(0, 1).unique(dim=0)) == 42
    for name in ("loc", "scale"):
        expected = getattr(whole.base_dist, name)
        torch.testing.assert_close(getattr(part.base_dist, name), expected[[4, 1, 4]])
        torch.testing.assert_close(getattr(plated["fn"].base_dist, name), expected.expand(7, 6, 3))


def test_its_steps_are_seen_by_nobody(linear):
    """Neither by handlers around it, nor by the random stream, nor by the gradients of parameters."""
    module, x = linear
    guide = refined(module.model, module.mediocre_guide)
    torch.manual_seed(3)
    plain = guide_trace(module.mediocre_guide, x)
    after, state = torch.rand(()), torch.get_rng_state()
    torch.manual_seed(3)
    found = guide_trace(guide, x)
    assert torch.equal(torch.rand(()), after)
    assert torch.equal(torch.get_rng_state(), state)
    assert list(found.nodes) == list(plain.nodes)
    assert all(parameter.grad is None for parameter in module.parameters())
    with torch.no_grad():
        assert not guide_trace(guide, x).nodes["z"]["value"].requires_grad


def test_parameters_get_their_gradient_at_the_refined_point():
    """t and s are constants: through mean and scale of the guide, and through the model."""
    pair = vae("StandardNormal")
    module = pair.guide.__self__
    guide = refined(pair.model, pair.guide)
    amortized = guide_trace(pair.guide, pair.x).nodes["z"]["fn"].base_dist
    moved = guide_trace(guide, pair.x).nodes["z"]["fn"].base_dist
    t = ((moved.loc - amortized.loc) / amortized.scale).detach()
    s = (moved.scale / amortized.scale).log().detach()
    expected = torch.autograd.grad(
        (amortized.loc + t * amortized.scale).sum() + (s.exp() * amortized.scale).square().sum(),
        [*module.encoder.parameters()],
    )
    found = torch.autograd.grad(moved.loc.sum() + moved.scale.square().sum(), [*module.encoder.parameters()])
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert t.abs().max() > 0.1


def test_trains_and_is_recorded():
    pair = vae("VampPrior")
    guide = refined(pair.model, pair.guide, num_steps=3)
    model, announced = announcing(pair.model, guide)
    compiled = CompiledELBO(Trace_ELBO(), backend="eager")
    found = []
    with pyro.get_param_store().scope():
        for elbo in (Trace_ELBO(), compiled, compiled, compiled):
            pair.model.__self__.zero_grad()
            torch.manual_seed(1)
            loss = torch.tensor(float(elbo.loss_and_grads(model, announced, pair.x)))
            found.append([loss, *(parameter.grad.clone() for parameter in pair.model.__self__.parameters())])
    assert compiled.num_graphs == 1
    for recorded in found[1:]:
        for one, other in zip(recorded, found[0], strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
    before = [parameter.clone() for parameter in pair.model.__self__.parameters()]
    result = fit(pair.model, guide, pair.x, epochs=20, batch_size=12, kl_weight=0.5, progress=False)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert not any(map(torch.equal, before, pair.model.__self__.parameters()))


def test_semi_amortized_vae_is_a_vae_with_a_refined_guide():
    px = Bernoulli((3, 4))
    module = SemiAmortizedVAE(StandardNormal(2), GaussianEncoder((3, 4), 2), MLP(2, px.feature_shape), px, num_steps=3)
    x, plain = patterns(6, (3, 4)), module.vae
    expected = guide_trace(refined(plain.model, plain.guide, num_steps=3), x).nodes["z"]["fn"]
    found = guide_trace(module.guide, x).nodes["z"]["fn"]
    torch.testing.assert_close(found.mean, expected.mean)
    assert not torch.allclose(found.mean, guide_trace(plain.guide, x).nodes["z"]["fn"].mean, atol=0.01)
    assert module.likelihood is px
    with pytest.raises(ValueError, match=r"^Expected num_steps >= 1"):
        SemiAmortizedVAE(plain.prior, plain.encoder, plain.decoder, px, num_steps=0)


def test_refines_several_levels():
    def model(x):  # x ~ Normal(0, 1 + 1 + 1)
        with pyro.plate("data", len(x), dim=-1):
            z2 = pyro.sample("z2", dist.Normal(0.0, 1.0))
            z1 = pyro.sample("z1", dist.Normal(z2, 1.0))
            pyro.sample("x", dist.Normal(z1, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            z1 = pyro.sample("z1", dist.Normal(0.2 * x, 1.0))
            pyro.sample("z2", dist.Normal(0.2 * z1, 1.0))

    x = 2 * torch.randn(8)
    better = refined(model, guide)
    elbos = [score(model, q, x.repeat(1000)).log_weight.detach() for q in (guide, better)]
    gain = (elbos[1] - elbos[0]).view(1000, 8).mean(1)
    assert gain.mean() > 5 * gain.std() / 1000**0.5
    result = log_marginal(model, better, x, num_samples=2000, estimator="guide")
    truth = dist.Normal(0.0, 3**0.5).log_prob(x).double()
    assert ((result.log_prob - truth).abs() < 5 * result.standard_error).all()


def test_a_start_that_is_perfect_is_kept():
    """At the posterior no noise moves it."""
    weight = torch.tensor([1.5, -0.7])

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(weight * z, 1.0).to_event(1), obs=x)

    def guide(x):
        precision = 1 + weight.square()
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(weight * x / precision, precision.rsqrt()).to_event(1))

    x = torch.randn(5, 2)
    start = guide_trace(guide, x).nodes["z"]["fn"]
    found = guide_trace(refined(model, guide), x).nodes["z"]["fn"]
    torch.testing.assert_close(found.mean, start.mean, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.stddev, start.stddev, rtol=0, atol=1e-5)


def test_errors_name_the_cure():
    px = Bernoulli((3, 4))
    module = VAE(StandardNormal(2), IAF((3, 4), 2), MLP(2, px.feature_shape), px)
    with pytest.raises(ValueError, match=r"^Expected Gaussian .* site 'z' has Flow\. Use GaussianEncoder"):
        refined(module.model, module.guide)(patterns(3, (3, 4)))
    for wrong in ({"num_steps": 0}, {"learning_rate": 0.0}):
        with pytest.raises(ValueError, match=r"^Expected num_steps >= 1 and learning_rate > 0; got "):
            refined(module.model, module.guide, **wrong)
