"""Gaussians fitted from gradients at their own draws: exact where the density is Gaussian, near and from afar."""

import pytest
import torch

from pyro_vae.evidence.gaussian_fit import Gaussians, fitted


def differentiated(log_density):
    def density(u):
        u = u.detach().requires_grad_()
        value = log_density(u)
        return value.detach(), torch.autograd.grad(value.sum(), u)[0]

    return density


def pairs_of_noise(count, batch, dim):
    def noise(step):
        e = torch.randn(count // 2, batch, dim, dtype=torch.float64)
        return torch.cat([e, -e])

    return noise


def normal(dim, batch, *, spread):
    """Normal distributions whose scales along random directions differ by the given factor."""
    axes = torch.linalg.qr(torch.randn(batch, dim, dim, dtype=torch.float64)).Q
    scales = torch.logspace(0, -torch.tensor(spread).log10().item(), dim, dtype=torch.float64)
    covariance = axes @ torch.diag(scales**2) @ axes.mT
    return torch.distributions.MultivariateNormal(3 * torch.randn(batch, dim, dtype=torch.float64), covariance)


@pytest.mark.parametrize(("dim", "spread", "count"), [(1, 1.0, 16), (3, 10.0, 16), (12, 30.0, 24)])
def test_a_gaussian_is_found_from_afar(dim, spread, count):
    """The KL divergence to it, which is what one sample of a weight is wrong by, comes near 0."""
    truth = normal(dim, 5, spread=spread)
    start = Gaussians.diagonal(torch.zeros(5, dim).double(), torch.ones(5, dim).double())
    fit = fitted(differentiated(truth.log_prob), start, pairs_of_noise(count, 5, dim), num_steps=12)
    found = torch.distributions.MultivariateNormal(fit.mean, fit.root @ fit.root.mT)
    assert (torch.distributions.kl_divergence(found, truth) < 0.05).all()


def test_density_and_draws_belong_together():
    truth = normal(4, 3, spread=5.0)
    root = torch.linalg.cholesky(truth.covariance_matrix)
    gaussians = Gaussians(truth.mean, root, torch.linalg.inv(root)).widened(1.5)[torch.tensor([2, 0])]
    expected = torch.distributions.MultivariateNormal(truth.mean[[2, 0]], 2.25 * truth.covariance_matrix[[2, 0]])
    u = torch.randn(7, 2, 4, dtype=torch.float64)
    torch.testing.assert_close(gaussians.log_prob(u), expected.log_prob(u))
    noise = torch.randn(20_000, 2, 4, dtype=torch.float64)
    draws = gaussians.at(noise)
    error = draws.var(0).sqrt() / len(noise) ** 0.5
    assert ((draws.mean(0) - expected.mean).abs() < 5 * error).all()
    torch.testing.assert_close(gaussians.log_prob(draws), expected.log_prob(draws))


def test_a_step_that_lowers_the_elbo_is_taken_back():
    """Of log densities that are no numbers away from the start nothing is left but the start."""
    start = Gaussians.diagonal(torch.zeros(2, 3).double(), torch.full((2, 3), 1e-3).double())

    def cliff(u):
        inside = (u.abs() < 0.1).all(-1)
        return torch.where(inside, 1000 * u.sum(-1), torch.nan * u.sum(-1))

    fit = fitted(differentiated(cliff), start, pairs_of_noise(16, 2, 3))
    assert fit.mean.abs().max() < 0.1
    assert fit.root.isfinite().all()


def test_few_draws_in_many_dimensions_still_improve():
    truth = normal(40, 2, spread=20.0)
    start = Gaussians.diagonal(truth.mean.clone(), torch.full((2, 40), 0.3).double())
    fit = fitted(differentiated(truth.log_prob), start, pairs_of_noise(16, 2, 40), num_steps=12)
    before, after = (
        torch.distributions.kl_divergence(torch.distributions.MultivariateNormal(g.mean, g.root @ g.root.mT), truth)
        for g in (start, fit)
    )
    assert (after < before / 4).all()
