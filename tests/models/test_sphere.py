"""Latents on the sphere: Bessel functions against SciPy, draws against densities, gradients against closed forms."""

import functools
import itertools
import math

import pytest
import scipy.integrate
import scipy.special
import torch
from examples import patterns, small_mlp, stirred
from goodness_of_fit import assert_counts_fit, assert_within_standard_errors
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from torch.distributions import kl_divergence
from torch.nn import functional

from pyro_vae import (
    VAE,
    Bernoulli,
    UniformSphere,
    VampPrior,
    VonMisesFisherEncoder,
    VonMisesFisherPrior,
    adam,
    annealed_log_marginal,
    fit,
    log_marginal,
)
from pyro_vae.distributions.bessel import bessel_ratio, log_bessel
from pyro_vae.distributions.von_mises_fisher import VonMisesFisher

encoder = functools.partial(VonMisesFisherEncoder, network=small_mlp)


# Bessel functions

DIMS = [2, 3, 4, 5, 8, 17, 23, 24, 64, 128, 256]
CONCENTRATIONS = torch.tensor([1e-3, 0.1, 0.5, 1, 3, 10, 30, 100, 300, 1e3, 1e4], dtype=torch.float64)


@pytest.mark.parametrize("dim", DIMS)
def test_bessel_functions_are_scipys(dim):
    order, x = dim / 2 - 1, CONCENTRATIONS.numpy()
    log_scaled, ratio = log_bessel(order, CONCENTRATIONS), bessel_ratio(order, CONCENTRATIONS)
    scaled, following = scipy.special.ive(order, x), scipy.special.ive(order + 1, x)
    known = torch.from_numpy((scaled > 1e-290) & (following > 1e-290))
    assert known.sum() >= 5  # SciPy's underflow where the order is large and x is small
    scaled, following = torch.from_numpy(scaled), torch.from_numpy(following)
    expected = scaled.log() - order * CONCENTRATIONS.log()
    torch.testing.assert_close(log_scaled[known], expected[known], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(ratio[known], (following / scaled)[known], rtol=1e-9, atol=0)


@pytest.mark.parametrize("dim", DIMS)
def test_bessel_functions_start_at_their_limit(dim):
    """I_v(x) / x^v at 0 is 1 / (2^v Gamma(v + 1)); the ratio starts at 0 with slope 1 / (2 (v + 1))."""
    order, x = dim / 2 - 1, torch.zeros((), dtype=torch.float64, requires_grad=True)
    log_scaled, ratio = log_bessel(order, x), bessel_ratio(order, x)
    assert log_scaled.item() == pytest.approx(-order * math.log(2) - math.lgamma(order + 1), abs=1e-8)
    assert ratio.item() == 0
    assert torch.autograd.grad(ratio, x)[0].item() == pytest.approx(1 / dim, rel=1e-8)


@pytest.mark.parametrize("dim", DIMS)
def test_bessel_functions_know_their_derivatives(dim):
    """d/dx log(I_v(x) e^-x / x^v) = A - 1 and dA/dx = 1 - A^2 - (2v + 1) A / x, with A the ratio."""
    x = CONCENTRATIONS.clone().requires_grad_()
    log_scaled, ratio = log_bessel(dim / 2 - 1, x), bessel_ratio(dim / 2 - 1, x)
    (slope,) = torch.autograd.grad(log_scaled.sum(), x)
    torch.testing.assert_close(slope, (ratio - 1).detach(), rtol=1e-7, atol=1e-9)
    (slope,) = torch.autograd.grad(ratio.sum(), x)
    expected = (1 - ratio.square() - (dim - 1) * ratio / x).detach()
    torch.testing.assert_close(slope, expected, rtol=1e-4, atol=1e-9)


# The distribution


def unit(*shape):
    return functional.normalize(torch.randn(*shape).double(), dim=-1)


def area(dim):
    """Of the unit sphere in dim dimensions."""
    return 2 * math.pi ** (dim / 2) / math.gamma(dim / 2)


@pytest.mark.parametrize("dim", [2, 3, 4])
@pytest.mark.parametrize("concentration", [0.0, 2.0, 2000.0])
def test_draws_fit_the_density_and_it_integrates_to_one(dim, concentration):
    """By the angle to the mean direction, whose density is that of z times the area of the circle of latitude."""
    loc = unit(dim)
    fn = VonMisesFisher(loc, torch.tensor(concentration).double())
    across = functional.normalize(unit(dim) - 2 * loc, dim=-1)
    across = functional.normalize(across - (across @ loc) * loc, dim=-1)

    def density(angle):
        log_prob = fn.log_prob(math.cos(angle) * loc + math.sin(angle) * across)
        return log_prob.exp().item() * area(dim - 1) * math.sin(angle) ** (dim - 2)

    draws = fn.sample((20_000,))
    torch.testing.assert_close(draws.norm(dim=-1), torch.ones(20_000).double())
    angles = 2 * ((draws - loc).norm(dim=-1) / 2).clamp(max=1).asin()
    edges = torch.linspace(0, min(math.pi, 1.2 * angles.max().item()), 41).double()
    probs = torch.tensor([scipy.integrate.quad(density, a, b)[0] for a, b in itertools.pairwise(edges)])
    assert probs.sum().item() == pytest.approx(1, abs=1e-3 if edges[-1] < math.pi else 1e-6)
    assert_counts_fit(torch.histc(angles, 40, 0, edges[-1].item()), probs.double())
    # All directions at right angles to loc are alike
    side = draws @ across
    assert_within_standard_errors(side, 0.0)
    spread = (fn.mean_length / concentration).item() if concentration else 1 / dim  # E[(v . z)^2] = A / k
    assert_within_standard_errors(side.square(), spread)


@pytest.mark.parametrize("dim", [3, 4])
def test_the_density_integrates_to_one_over_uniform_points(dim):
    fn = VonMisesFisher(unit(dim), torch.tensor(2.0).double())
    assert_within_standard_errors(fn.log_prob(unit(50_000, dim)).exp() * area(dim), 1.0)


@pytest.mark.parametrize("dim", [2, 3, 20])
def test_no_concentration_is_uniform(dim):
    fn = VonMisesFisher(unit(dim), torch.zeros(()).double())
    torch.testing.assert_close(fn.log_prob(unit(9, dim)), torch.full((9,), -math.log(area(dim))).double())
    assert fn.entropy().item() == pytest.approx(math.log(area(dim)), abs=1e-8)
    assert UniformSphere(dim)().log_prob(unit(dim).float()).item() == pytest.approx(-math.log(area(dim)), abs=1e-5)
    assert fn.mean.abs().max() == 0


@pytest.mark.parametrize("dim", [2, 3, 9])
def test_entropy_and_kl_are_the_means_they_stand_for(dim):
    q = VonMisesFisher(unit(dim), torch.tensor(4.0).double())
    p = VonMisesFisher(unit(dim), torch.tensor(7.0).double())
    z = q.sample((20_000,))
    assert_within_standard_errors(-q.log_prob(z), q.entropy().item())
    assert_within_standard_errors(q.log_prob(z) - p.log_prob(z), kl_divergence(q, p).item())
    uniform = VonMisesFisher(unit(dim), torch.zeros(()).double())
    assert kl_divergence(q, uniform).item() == pytest.approx(math.log(area(dim)) - q.entropy().item())
    assert kl_divergence(q, q).item() == pytest.approx(0, abs=1e-12)


def test_large_concentrations_are_a_gaussian_around_the_mean():
    """k |z - loc|^2 has a chi-squared distribution of D - 1 degrees of freedom, in single precision too."""
    loc = unit(6).float()
    fn = VonMisesFisher(loc, torch.tensor(1e4))
    distance = 1e4 * (fn.sample((20_000,)) - loc).square().sum(-1)
    assert_within_standard_errors(distance, 5.0, errors=6)
    log_prob = fn.log_prob(loc)
    assert log_prob.item() == pytest.approx(2.5 * math.log(1e4 / (2 * math.pi)), abs=1e-2)


# Pathwise gradients: E[z] = A_D(k) loc


@pytest.mark.parametrize("dim", [2, 3, 4, 50])
@pytest.mark.parametrize("concentration", [0.1, 10.0, 3000.0])
def test_gradients_are_those_of_the_mean(dim, concentration):
    loc, direction, count = unit(dim), unit(dim), 20_000
    k = torch.full((count,), concentration).double().requires_grad_()
    each = loc.expand(count, dim).clone().requires_grad_()
    z = VonMisesFisher(each, k).rsample()
    by_k, by_loc = torch.autograd.grad((z @ direction).sum(), (k, each))
    one = torch.tensor(concentration).double().requires_grad_()
    length = VonMisesFisher(loc, one).mean_length
    (slope,) = torch.autograd.grad(length, one)
    assert_within_standard_errors(by_k, (slope * loc @ direction).item())
    tangent = functional.normalize(direction - (direction @ loc) * loc, dim=-1)  # where loc can move
    assert_within_standard_errors(by_loc @ tangent, (length * direction @ tangent).item())


def test_the_gradient_of_one_draw_follows_its_quantile():
    """The angle solves F(angle; k) = u with u fixed: its derivative, by differences of that equation."""
    k = torch.tensor([0.5, 2.0, 30.0]).double().requires_grad_()
    z = VonMisesFisher(torch.eye(4)[0].double().expand(3, 4), k).rsample()
    angles = z[:, 0].acos()
    (slopes,) = torch.autograd.grad(angles.sum(), k)

    def cdf(angle, concentration):
        def density(t):
            return math.exp(concentration * (math.cos(t) - 1)) * math.sin(t) ** 2

        return scipy.integrate.quad(density, 0, angle)[0] / scipy.integrate.quad(density, 0, math.pi)[0]

    for slope, angle, at in zip(slopes.tolist(), angles.tolist(), k.tolist(), strict=True):
        by_k = (cdf(angle, at * 1.0001) - cdf(angle, at / 1.0001)) / (at * 1.0001 - at / 1.0001)
        by_angle = (cdf(angle + 1e-4, at) - cdf(angle - 1e-4, at)) / 2e-4
        assert slope == pytest.approx(-by_k / by_angle, rel=1e-4)


# Pairs


def vae(prior, dim=3):
    px = Bernoulli((3, 4))
    qz = encoder((3, 4), dim)
    pz = prior(dim) if prior is not VampPrior else VampPrior(qz, torch.rand(5, 3, 4))
    return VAE(pz, qz, small_mlp(dim, px.feature_shape), px)


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
@pytest.mark.parametrize("prior", [UniformSphere, VonMisesFisherPrior, VampPrior])
def test_any_prior_on_the_sphere_is_trained_and_evaluated(prior):
    module, x = vae(prior), patterns(40, (3, 4))
    options = {"epochs": 6, "batch_size": 20, "optimizer": adam(0.01), "progress": False}
    result = fit(module.model, module.guide, x, validation=x, **options)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    few, many = (
        log_marginal(module.model, module.guide, x[:4], num_samples=n, chunk_size=2000, estimator="guide")
        for n in (750, 2000)
    )
    error = torch.hypot(few.standard_error, many.standard_error)
    assert ((few.log_prob - many.log_prob).abs() < 5 * error).all()


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
def test_log_p_is_the_integral_over_the_circle():
    module, x = stirred(vae(VonMisesFisherPrior, dim=2)), patterns(4, (3, 4))
    angle = (torch.arange(2000) + 0.5) * 2 * math.pi / 2000
    z = torch.stack([angle.cos(), angle.sin()], -1)[:, None]  # (2000, 1, 2)
    with torch.no_grad():
        log_joint = module.prior().log_prob(z) + module.likelihood(module.decoder(z)).log_prob(x)
    truth = log_joint.double().logsumexp(0) + math.log(2 * math.pi / 2000)
    found = log_marginal(module.model, module.guide, x, num_samples=2000, estimator="guide")
    assert ((found.log_prob - truth).abs() < 5 * found.standard_error).all()


def test_the_mean_field_elbo_uses_the_closed_kl():
    module, x = vae(VonMisesFisherPrior), patterns(9, (3, 4))
    q, p = module.encoder(x), module.prior()
    rows = x[:1].expand(20_000, 3, 4)
    z = module.encoder(rows).sample()
    assert_within_standard_errors(module.encoder(rows).log_prob(z) - p.log_prob(z), kl_divergence(q, p)[0].item())
    trace = poutine.trace(module.guide).get_trace(x)
    guide = poutine.replay(module.guide, trace=trace)
    loss = TraceMeanField_ELBO().loss(module.model, guide, x)
    log_px = module.likelihood(module.decoder(trace.nodes["z"]["value"])).log_prob(x)
    assert loss == pytest.approx((kl_divergence(q, p) - log_px).sum().item(), rel=1e-4)


def test_annealing_refuses_the_sphere():
    module = vae(UniformSphere)
    with pytest.raises(ValueError, match=r"bijection from unconstrained space; site 'z' has Sphere.* log_marginal\."):
        annealed_log_marginal(module.model, module.guide, patterns(3, (3, 4)), num_temperatures=3)


# Errors


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: UniformSphere(1), r"Expected dim >= 2; got 1\. .* use BernoulliPrior instead\."),
        (lambda: VonMisesFisherPrior(1), r"Expected dim >= 2, .*; got 1\. Use BernoulliPrior instead\."),
        (lambda: VonMisesFisherEncoder(3, 1), r"Expected latent_dim >= 2; got 1\. .* use BernoulliEncoder instead\."),
        (lambda: VonMisesFisher(torch.ones(1), torch.ones(())), r"Expected loc of at least 2 dimensions, .*\(1,\)\."),
        (lambda: VonMisesFisher(torch.ones(3), torch.ones(())), "loc"),
        (lambda: VonMisesFisher(torch.eye(3)[0], -torch.ones(())), "concentration"),
        (lambda: UniformSphere(3)().log_prob(torch.ones(3)), "within the support"),
    ],
)
def test_errors_say_what_was_expected(build, text):
    with pytest.raises(ValueError, match=text):
        build()


def test_repr_shows_the_configuration():
    assert repr(UniformSphere(3)) == "UniformSphere(dim=3)"
    assert repr(VonMisesFisherPrior(3)) == "VonMisesFisherPrior(dim=3)"
