"""Latents on the simplex: logistic-normal and Dirichlet, and which priors go with which encoders."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import LATENT_ENCODERS, LATENT_PRIORS, patterns, small_mlp, stirred
from goodness_of_fit import assert_sampler_fits_density, assert_within_standard_errors
from torch.distributions import TransformedDistribution, kl_divergence

from pyro_vae import (
    VAE,
    Bernoulli,
    BernoulliEncoder,
    BernoulliPrior,
    CategoricalEncoder,
    CategoricalPrior,
    CouplingFlow,
    DirichletEncoder,
    DirichletPrior,
    GaussianEncoder,
    GaussianMixture,
    LogisticNormalEncoder,
    LogisticNormalPrior,
    StandardNormal,
    UniformSphere,
    VampPrior,
    VonMisesFisherEncoder,
    VonMisesFisherPrior,
    adam,
    annealed_log_marginal,
    bidirectional,
    fit,
    log_marginal,
)
from pyro_vae.distributions.log_ratio import AdditiveLogRatio
from pyro_vae.pairs.checks import check_latents
from pyro_vae.pairs.contexts import evaluating
from pyro_vae.pairs.scoring import traces

# Distributions


def test_log_ratios_obey_the_change_of_variables():
    """The volume of the simplex is that of its first D - 1 parts."""
    transform, y = AdditiveLogRatio(), 2 * torch.randn(5, 3).double()
    z = transform(y)
    torch.testing.assert_close(z.sum(-1), torch.ones(5).double())
    torch.testing.assert_close(z, torch.cat([y, torch.zeros(5, 1)], -1).softmax(-1))
    torch.testing.assert_close(AdditiveLogRatio()._inverse(z), y)
    for row, log_det in zip(y, transform.log_abs_det_jacobian(y, z), strict=True):
        jacobian = torch.autograd.functional.jacobian(lambda row: transform(row)[:-1], row)
        torch.testing.assert_close(log_det, jacobian.slogdet().logabsdet)
    assert transform.forward_shape((5, 3)) == (5, 4)
    assert transform.inverse_shape((5, 4)) == (5, 3)


def test_two_parts_are_a_gaussian_through_a_sigmoid():
    prior, z = stirred(LogisticNormalPrior(2)), torch.rand(9)
    normal = prior().base_dist
    twin = TransformedDistribution(
        dist.Normal(normal.loc[0], normal.scale_tril[0, 0]), [torch.distributions.SigmoidTransform()]
    )
    torch.testing.assert_close(prior().log_prob(torch.stack([z, 1 - z], -1)), twin.log_prob(z))


@pytest.mark.parametrize("name", ["DirichletPrior", "DirichletPrior, learned", "LogisticNormalPrior"])
def test_draws_fit_their_density(name):
    """In log ratios, where the density ends nowhere."""
    pz = stirred(LATENT_PRIORS[name][0](3), scale=0.5)().expand([])
    assert_sampler_fits_density(TransformedDistribution(pz, [AdditiveLogRatio().inv]))


@pytest.mark.parametrize("name", ["DirichletEncoder", "LogisticNormalEncoder"])
def test_draws_of_encoders_fit_their_density(name):
    qz = stirred(LATENT_ENCODERS[name][0](3, 3), scale=0.5)(torch.randn(3))
    assert_sampler_fits_density(TransformedDistribution(qz, [AdditiveLogRatio().inv]))


def test_the_dirichlet_prior_is_the_distribution():
    prior, z = DirichletPrior(4, concentration=0.3), torch.rand(9, 4)
    z = z / z.sum(-1, keepdim=True)
    torch.testing.assert_close(prior().log_prob(z), dist.Dirichlet(torch.full((4,), 0.3)).log_prob(z))
    assert not any(p.requires_grad for p in prior.parameters())
    assert all(p.requires_grad for p in DirichletPrior(4, learned=True).parameters())


def test_the_logistic_normal_prior_learns_correlations():
    prior = LogisticNormalPrior(4)
    torch.testing.assert_close(prior().base_dist.covariance_matrix, torch.eye(3), rtol=1e-2, atol=0)
    with torch.no_grad():
        prior.lower[1, 0] = 2.0
    y = AdditiveLogRatio()._inverse(prior.double()().sample((20_000,)))
    assert_within_standard_errors(y[:, 0] * y[:, 1], prior().base_dist.covariance_matrix[0, 1].item())


def test_pathwise_gradients_of_the_dirichlet_are_those_of_its_mean():
    concentration = torch.tensor([0.2, 0.7, 3.0]).double()
    each = concentration.expand(20_000, 3).clone().requires_grad_()
    (found,) = torch.autograd.grad(dist.Dirichlet(each).rsample()[:, 0].sum(), each)
    total = concentration.sum()
    truth = (torch.eye(3)[0] * total - concentration[0]) / total**2
    for part in range(3):
        assert_within_standard_errors(found[:, part], truth[part].item())


def test_concentrations_of_the_encoder_have_a_floor():
    encoder = DirichletEncoder(3, 4, network=functools.partial(small_mlp, hidden=()))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.fill_(-1e6)
    assert encoder(torch.ones(5, 3)).concentration.min().item() == pytest.approx(0.1)


# Pairs


def vae(prior, encoder, latent_dim=4):
    px, qz = Bernoulli((3, 4)), encoder((3, 4), latent_dim, network=small_mlp)
    pz = VampPrior(qz, torch.rand(5, 3, 4)) if prior is VampPrior else prior(latent_dim)
    return VAE(pz, qz, small_mlp(latent_dim, px.feature_shape), px)


@pytest.mark.parametrize("prior", [DirichletPrior, LogisticNormalPrior, VampPrior])
@pytest.mark.parametrize("encoder", [DirichletEncoder, LogisticNormalEncoder])
def test_any_prior_goes_with_any_encoder(prior, encoder):
    module, x = vae(prior, encoder), patterns(40, (3, 4))
    options = {"epochs": 6, "batch_size": 20, "optimizer": adam(0.01), "progress": False}
    result = fit(module.model, module.guide, x, validation=x, **options)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert (
        log_marginal(module.model, module.guide, x[:4], num_samples=50, chunk_size=60, estimator="guide")
        .log_prob.isfinite()
        .all()
    )


@pytest.mark.usefixtures("short_warm_up")
@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
@pytest.mark.parametrize(
    ("prior", "encoder", "start"),
    [(DirichletPrior, LogisticNormalEncoder, "guide"), (LogisticNormalPrior, DirichletEncoder, "prior")],
)
def test_estimates_are_the_integral_over_the_simplex(prior, encoder, start):
    module, x = stirred(vae(prior, encoder, 2)), patterns(4, (3, 4))
    part = (torch.arange(20_000) + 0.5) / 20_000
    z = torch.stack([part, 1 - part], -1)[:, None]
    with torch.no_grad():
        log_joint = module.prior().log_prob(z) + module.likelihood(module.decoder(z)).log_prob(x)
    truth = log_joint.double().logsumexp(0) - torch.tensor(20_000.0).log()
    estimate = log_marginal(module.model, module.guide, x, num_samples=5000, estimator="guide")
    assert ((estimate.log_prob - truth).abs() < 5 * estimate.standard_error + 1e-3).all()
    annealed = annealed_log_marginal(module.model, module.guide, x, num_temperatures=10, num_leapfrog=2, start=start)
    assert ((annealed.log_prob - truth).abs() < 5 * annealed.standard_error + 1e-3).all()


@pytest.mark.usefixtures("short_warm_up")
def test_both_sides_meet_on_the_simplex():
    module = stirred(vae(DirichletPrior, LogisticNormalEncoder), scale=0.5)
    x, short = patterns(20, (3, 4)), {"num_chains": 8, "num_temperatures": 10, "num_leapfrog": 2}
    gap = bidirectional(module.model, module.guide, x, **short)
    assert abs(gap.mean_gap.value) < 5 * gap.mean_gap.standard_error + 0.05


# Supports of guide and prior

SPACES = {
    "vector": ([StandardNormal, GaussianMixture, CouplingFlow], [GaussianEncoder]),
    "simplex": ([DirichletPrior, LogisticNormalPrior], [DirichletEncoder, LogisticNormalEncoder]),
    "sphere": ([UniformSphere, VonMisesFisherPrior], [VonMisesFisherEncoder]),
    "one-hot": ([CategoricalPrior], [CategoricalEncoder]),
    "bits": ([BernoulliPrior], [BernoulliEncoder]),
}
BY_PRIOR = [(name, prior) for name, (priors, _) in SPACES.items() for prior in priors]
BY_ENCODER = [(name, encoder) for name, (_, encoders) in SPACES.items() for encoder in encoders]


@pytest.mark.parametrize("prior", BY_PRIOR, ids=lambda pair: pair[1].__name__)
@pytest.mark.parametrize("encoder", BY_ENCODER, ids=lambda pair: pair[1].__name__)
def test_prior_and_encoder_must_be_of_one_space(prior, encoder):
    module, x = vae(prior[1], encoder[1]), patterns(8, (3, 4))
    with evaluating(module.model, module.guide):
        fitting = traces(module.model, module.guide, x)
    if prior[0] == encoder[0]:
        check_latents(*fitting)
    else:
        with pytest.raises(ValueError, match=r"Expected the guide of site 'z' on the support of its prior, .*; got .*"):
            check_latents(*fitting)


def test_fit_says_it_before_the_first_step():
    module, x = vae(DirichletPrior, GaussianEncoder), patterns(8, (3, 4))
    with pytest.raises(ValueError, match=r"prior, Simplex\(\); got .*Real.*\. Use an encoder .*DirichletEncoder"):
        fit(module.model, module.guide, x, epochs=1, progress=False)


def test_other_numbers_of_categories_are_another_space():
    px = Bernoulli((3, 4))
    prior, encoder = CategoricalPrior(6, 3), CategoricalEncoder((3, 4), 6, 2)
    module = VAE(prior, encoder, small_mlp(6, px.feature_shape), px)
    with pytest.raises(ValueError, match=r"OneHot\(\), num_categories=3\); got Groups\(OneHot\(\), num_categories=2\)"):
        fit(module.model, module.guide, patterns(8, (3, 4)), epochs=1, progress=False)


def test_point_masses_and_narrower_guides_are_left_alone():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Dirichlet(torch.ones(3)))
            pyro.sample("w", dist.Normal(0.0, 1.0))

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Delta(torch.tensor([0.2, 0.3, 0.5]), event_dim=1))
            pyro.sample("w", dist.Uniform(x - 1, x + 1))  # bounds of their own for each image

    check_latents(*traces(model, guide, torch.zeros(3)))


# Errors


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: DirichletPrior(1), r"Expected dim >= 2; got 1\."),
        (lambda: DirichletPrior(3, 0.0), r"Expected a finite concentration > 0; got 0\.0\."),
        (lambda: DirichletPrior(3, float("inf")), r"Expected a finite concentration > 0; got inf\."),
        (lambda: DirichletEncoder(3, 1), r"Expected latent_dim >= 2; got 1\."),
        (lambda: LogisticNormalPrior(1), r"Expected dim >= 2; got 1\."),
        (lambda: LogisticNormalEncoder(3, 1), r"Expected latent_dim >= 2; got 1\."),
        (lambda: LogisticNormalPrior(3)().log_prob(torch.ones(3)), "within the support"),
    ],
)
def test_errors_say_what_was_expected(build, text):
    with pytest.raises(ValueError, match=text):
        build()


def test_repr_shows_the_configuration():
    assert repr(DirichletPrior(3)) == "DirichletPrior(dim=3, concentration=1)"
    assert repr(LogisticNormalPrior(3)) == "LogisticNormalPrior(dim=3)"


def test_kl_of_two_dirichlets_is_the_mean_rate():
    q, p = DirichletEncoder(3, 3)(torch.randn(3)), DirichletPrior(3)()
    z = q.sample((20_000,))
    assert_within_standard_errors(q.log_prob(z) - p.log_prob(z), kl_divergence(q, p).item())
