"""Annealed chains where no mixture of Gaussians fits: nearer to the truth, flagged as before, and counted."""

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch

from pyro_vae import log_marginal
from pyro_vae.evidence import HeavyTail, importance
from pyro_vae.evidence.annealed_rung import CHAINS, AnnealedRung, finer
from pyro_vae.evidence.annealing_schedule import Plan, sigmoid_schedule
from pyro_vae.evidence.counter_random import data_keys
from pyro_vae.evidence.fitted_mixture import Mixture
from pyro_vae.evidence.gaussian_fit import Gaussians
from pyro_vae.evidence.latent_draws import LatentDraws
from pyro_vae.evidence.latent_space import LatentSpace
from pyro_vae.pairs.contexts import unvalidated

FUNNELS, COPIES = 10, 8  # of two latents each; estimates of a data point
WIDTH, NOISE = 2.5, 0.5


def model(x):
    """Ten funnels side by side: v ~ Normal(0, 2.5), w ~ Normal(0, exp(v / 2)), x ~ Normal(w, 0.5)."""
    with pyro.plate("data", len(x), dim=-1):
        v = pyro.sample("v", dist.Normal(torch.zeros(FUNNELS), WIDTH).to_event(1))
        w = pyro.sample("w", dist.Normal(torch.zeros(FUNNELS), (v / 2).exp()).to_event(1))
        pyro.sample("x", dist.Normal(w, NOISE).to_event(1), obs=x)


def guide(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("v", dist.Normal(torch.zeros(len(x), FUNNELS), 1.0).to_event(1))
        pyro.sample("w", dist.Normal(0.8 * x, 0.4).to_event(1))


def truth(x):
    """log p(x), by quadrature over v."""
    v = torch.linspace(-25, 25, 20_001).double()
    spread = (v.exp() + NOISE**2).sqrt()[:, None, None]
    log_joint = dist.Normal(0.0, WIDTH).log_prob(v)[:, None, None] + dist.Normal(0.0, spread).log_prob(x.double())
    return (log_joint.logsumexp(0) + math.log(50 / 20_000)).sum(-1)


@pytest.fixture(scope="module")
def results():
    """Estimates without annealed chains and with them, of copies, which have draws of their own; what the progress bar
    of the second was told."""
    generator = torch.Generator().manual_seed(7)
    v = WIDTH * torch.randn(FUNNELS, generator=generator)
    noise = torch.randn(2, FUNNELS, generator=generator)
    x = ((v / 2).exp() * noise[0] + NOISE * noise[1]).repeat(COPIES, 1)
    told = []

    class Bar:
        total = 0

        def update(self, n):
            told.append(n)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", HeavyTail)
        patch.setattr("pyro_vae.evidence.foreseen.expect", lambda bar, total: None)
        without = log_marginal(model, guide, x)
        patch.setattr(importance, "progress_bar", lambda *args, **kwargs: Bar())
        return without, log_marginal(model, guide, x, target_standard_error=0.5), truth(x), told


def test_it_is_nearer_where_importance_sampling_fails_and_flagged_as_that(results):
    without, result, log_prob, _ = results
    assert without.unreliable.double().mean() >= 0.75
    annealed = result.from_chains
    assert annealed.double().mean() >= 0.75
    assert not without.from_chains.any()
    assert (annealed & result.unreliable).sum() == annealed.sum()
    error = (result.log_prob - log_prob).abs()
    assert error[annealed].mean() < 0.5 * (without.log_prob - log_prob).abs()[annealed].mean()


def test_the_mean_weight_is_p_of_x(results):
    _, result, log_prob, _ = results
    ratio = (result.log_prob - log_prob).exp()[result.from_chains]
    assert (ratio.mean() - 1).abs() < 5 * ratio.std() / len(ratio) ** 0.5


def test_what_it_took_is_counted(results):
    _, result, _, told = results
    assert sum(told) == result.details["evaluations"].sum()
    assert "left_out" not in result.details  # nobody looked for it, in so many dimensions
    assert (result.num_samples[result.from_chains] == CHAINS).all()
    assert result.details["evaluations"][result.from_chains].min() > 40_000
    assert result.convergence()[-1][0] == 1000  # the mean over data points has its last level


def noisy(x):
    """A model that draws a random number that is no site."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0))
        pyro.sample("x", dist.Normal(z + torch.rand(()), 1.0), obs=x)


def test_a_density_that_is_an_estimate_itself_is_left_alone():
    def normal(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))

    x = torch.zeros(2)
    with unvalidated(), torch.no_grad():
        rung = AnnealedRung(LatentDraws(LatentSpace(noisy, normal, x), is_keyed=True, at_once=100), lambda n: None)
        mixture = Mixture((Gaussians.diagonal(torch.zeros(2, 1), torch.ones(2, 1)),), torch.ones(1, 2))
        assert rung.estimate(x, data_keys(x, 0), mixture, 100_000) is None


def test_a_start_whose_chains_all_have_weight_zero_is_not_taken():
    """x ~ Uniform(z - 0.1, z + 0.1), z ~ Normal(0, 30): next to no draw of the prior is possible."""

    def edged(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(4), 30.0).to_event(1))
            pyro.sample("x", dist.Uniform(z - 0.1, z + 0.1).to_event(1), obs=x)

    def near(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x, 0.1).to_event(1))

    x = torch.randn(3, 4)
    with unvalidated(), torch.no_grad():
        rung = AnnealedRung(LatentDraws(LatentSpace(edged, near, x), is_keyed=True, at_once=4096), lambda n: None)
        mixture = Mixture((Gaussians.diagonal(x, torch.full((3, 4), 0.1)),), torch.ones(1, 3))
        result = rung.estimate(x, data_keys(x, 0), mixture, 60_000)
    error = (result.log_prob - dist.Normal(0.0, 30.0).log_prob(x).sum(-1)).abs()
    assert (error < 5 * result.standard_error).all()


def test_a_finer_plan_passes_the_same_temperatures():
    b = sigmoid_schedule(8)[:, None].expand(-1, 2) ** torch.tensor([1.0, 2.0])
    plan = Plan(b, torch.rand(7, 2))
    for name, same in zip(Plan._fields, finer(plan, 8), strict=True):
        torch.testing.assert_close(same, getattr(plan, name))
    torch.testing.assert_close(finer(plan, 16).temperatures[::2], b)
    torch.testing.assert_close(finer(plan, 16).steps[1::2], plan.steps)
