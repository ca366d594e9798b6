"""Pairs of kinds that are rare, each against a sum or an integral over its latents on a grid; and what is refused."""

import math

import pyro
import pyro.distributions as dist
import pyro.distributions.transforms as flows
import pytest
import torch
from torch import nn

from pyro_vae import annealed_log_marginal, fit, log_marginal, sample

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
N = 3
SHORT = {"num_chains": 24, "num_temperatures": 12, "num_warmup_chains": 2, "num_leapfrog": 2, "compile": False}


@pytest.fixture(autouse=True)
def _short_warm_up(monkeypatch):
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.FIRST_TRANSITIONS", 5)
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.LEAST_TRANSITIONS", 8)


def integral(log_joint, grid):
    """Log of the integral of exp(log_joint) (G, N) over a grid of equal steps (G,)."""
    return (log_joint + (grid[1] - grid[0]).log()).logsumexp(0)


def of_one_latent(prior, guide, likelihood):
    """A pair z ~ prior, x ~ likelihood(z), z ~ guide(x)."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", likelihood(pyro.sample("z", prior)), obs=x)

    def of_guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", guide(x))

    return model, of_guide


def correlations():
    """A correlation of two, from the LKJ prior: its density at shape 2 is that of 1 - r^2."""

    def likelihood(root):
        return dist.MultivariateNormal(torch.zeros(2), scale_tril=root[..., None, :, :]).expand(
            (*root.shape[:-2], 3)
        ).to_event(1)  # fmt: skip

    pair = of_one_latent(dist.LKJCholesky(2, 2.0), lambda x: dist.LKJCholesky(2, 1.5 * torch.ones(len(x))), likelihood)
    x, grid = torch.randn(N, 3, 2), torch.linspace(-0.9999, 0.9999, 2001)
    root = torch.stack([torch.ones_like(grid), 0 * grid, grid, (1 - grid**2).sqrt()], -1).view(-1, 1, 2, 2)
    log_prior = ((1 - grid**2) * 3 / 4).log()
    return *pair, x, integral(log_prior[:, None] + likelihood(root).log_prob(x), grid)


def gaussian_hmm():
    """A linear state space, its states summed out by the distribution, with a scale as latent."""

    def likelihood(z):
        noise = dist.Normal(0.0, z.exp()[..., None, None]).to_event(1)
        step = dist.Normal(torch.zeros(2), 0.5).to_event(1)
        start = dist.Normal(torch.zeros(2), 1.0).to_event(1)
        return dist.GaussianHMM(start, 0.9 * torch.eye(2), step, torch.ones(2, 1), noise, duration=4)

    pair = of_one_latent(dist.Normal(0.0, 0.5), lambda x: dist.Normal(0 * x[:, 0, 0], 0.5), likelihood)
    x, grid = torch.randn(N, 4, 1), torch.linspace(-4, 4, 401)
    terms = likelihood(grid[:, None]).log_prob(x) + dist.Normal(0.0, 0.5).log_prob(grid)[:, None]
    return *pair, x, integral(terms, grid)


def flow_guide():
    """A guide through a spline, and data through a flow."""
    torch.manual_seed(0)
    spline = flows.spline(2)
    for parameter in spline.parameters():
        parameter.data *= 0.3
    shear = flows.LowerCholeskyAffine(torch.zeros(2), torch.tensor([[1.5, 0.0], [0.7, 0.8]]))

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.TransformedDistribution(dist.Normal(z, 1.0).to_event(1), [shear]), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            base = dist.Normal(shear.inv(x) / 2, torch.ones(2)).to_event(1)
            pyro.sample("z", dist.TransformedDistribution(base, [spline]))

    x = torch.randn(N, 2)
    with torch.no_grad():
        u = shear.inv(x)
        truth = dist.Normal(0.0, 2**0.5).log_prob(u).sum(1) - shear.log_abs_det_jacobian(u, x)
    return model, guide, x, truth


def mixed_guide():
    """A mixture as prior, and another guide for some of the data."""
    prior = dist.MixtureSameFamily(dist.Categorical(torch.ones(2)), dist.Normal(torch.tensor([-1.0, 1.0]), 0.5))
    pair = of_one_latent(
        prior,
        lambda x: dist.MaskedMixture(x > 0, dist.Normal(x - 1, 1.0), dist.Normal(x, 1.0)),
        lambda z: dist.StudentT(4.0, z, 1.0),
    )
    x, grid = torch.randn(N), torch.linspace(-8, 8, 2001)
    terms = prior.log_prob(grid)[:, None] + dist.StudentT(4.0, grid[:, None], 1.0).log_prob(x)
    return *pair, x, integral(terms, grid)


WAYS = {
    "guide": lambda *pair: log_marginal(*pair, num_samples=300, estimator="guide"),
    "auto": lambda *pair: log_marginal(*pair, num_samples=300, estimator="auto"),
    "annealed": lambda *pair: annealed_log_marginal(*pair, **SHORT),
}


@pytest.mark.parametrize(
    ("make", "ways"),
    [
        (correlations, ["guide", "annealed"]),
        (gaussian_hmm, ["guide", "auto"]),
        (flow_guide, WAYS),
        (mixed_guide, ["guide", "auto"]),
    ],
)
def test_log_p_is_the_integral(make, ways):
    model, guide, x, truth = make()
    for way in ways:
        result = WAYS[way](model, guide, x)
        assert ((result.log_prob - truth).abs() < 5 * result.standard_error + 1e-3).all()
        assert (result.standard_error < 0.8).all()


LOCS = torch.tensor([-2.0, 0.0, 2.0])


def codes(kind):
    """Relaxed codes of three categories by x, as prior and as guide."""
    return kind(torch.tensor(0.7), probs=torch.ones(3)), lambda x: kind(torch.tensor(0.7), logits=x[:, None] * LOCS / 4)


def test_rounded_codes_are_those_of_the_categories():
    """Straight through in both: the draws are categories, and their probabilities those of the relaxed code."""
    prior, guide = codes(dist.RelaxedOneHotCategoricalStraightThrough)
    model, guide = of_one_latent(prior, guide, lambda z: dist.Normal((z * LOCS).sum(-1), 1.0))
    x = torch.randn(N)
    truth = dist.Normal(LOCS[:, None], 1.0).log_prob(x).logsumexp(0) - math.log(3)
    for kind in ("guide", "auto"):
        result = log_marginal(model, guide, x, num_samples=1000, estimator=kind)
        assert ((result.log_prob - truth).abs() < 5 * result.standard_error).all()
    with pytest.raises(ValueError, match="site 'z' rounds its draws, straight through"):
        annealed_log_marginal(model, guide, x, start="prior", **SHORT)
    with pytest.raises(ValueError, match="site 'z' rounds its own, straight through"):
        log_marginal(model, guide, x, defensive=0.1, estimator="guide")


@pytest.mark.parametrize("rounded", ["prior", "guide"])
def test_codes_rounded_in_one_place_are_refused(rounded):
    kinds = [dist.RelaxedOneHotCategorical, dist.RelaxedOneHotCategoricalStraightThrough]
    (prior, _), (_, guide) = map(codes, kinds if rounded == "guide" else kinds[::-1])
    model, guide = of_one_latent(prior, guide, lambda z: dist.Normal((z * LOCS).sum(-1), 1.0))
    with pytest.raises(ValueError, match="Expected draws of site 'z' that both prior and guide round"):
        log_marginal(model, guide, torch.randn(N))


class Noisy(nn.Module):
    """z ~ N(0, 1), x ~ N(z + e, 1) with noise e ~ N(0, 1) that is no site."""

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + torch.randn(z.shape), 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 3, 0.9))


def test_noise_that_is_no_site_is_averaged_over_or_refused():
    pair, x = Noisy(), torch.randn(N)
    result = log_marginal(pair.model, pair.guide, x, num_samples=2000)
    assert ((result.log_prob - dist.Normal(0.0, 3**0.5).log_prob(x)).abs() < 5 * result.standard_error).all()
    with pytest.raises(ValueError, match="got another when it was asked again"):
        annealed_log_marginal(pair.model, pair.guide, x, **SHORT)


def test_what_cannot_be_drawn_says_so():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            law = dist.Normal(torch.stack([z, z + 3], -1)[..., None, :], 1.0)
            pyro.sample("x", dist.DiscreteHMM(torch.zeros(2), torch.eye(2), law), obs=x)

    with pytest.raises(ValueError, match="A hidden Markov model needs its duration"):
        sample(model, torch.randn(N, 4))


class Shared(nn.Module):
    """Prior, guide and decoder of parameters alone."""

    def __init__(self):
        super().__init__()
        self.loc, self.unused = nn.Parameter(torch.zeros(2)), None

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(self.loc, 1.0).to_event(1), obs=x)

    def guide(self, x):
        pass


def test_draws_of_parameters_alone_keep_no_gradient():
    drawn, means = sample(Shared().model, torch.zeros(N, 2))
    assert not drawn.requires_grad
    assert not means.requires_grad


def test_a_lazy_layer_that_is_not_called_is_refused_in_training():
    pair = Shared()
    pair.unused = nn.LazyLinear(2)
    with pytest.raises(ValueError, match=r"got 'unused\.weight' of the pair, which it does not call"):
        fit(pair.model, pair.guide, torch.randn(N, 2), progress=False)
    assert log_marginal(pair.model, pair.guide, torch.randn(N, 2)).log_prob.isfinite().all()


def test_an_initial_value_that_is_no_tensor_is_refused():
    def guide(x):
        pyro.param("scale", [1.0])

    with pytest.raises(TypeError, match=r"initial value of pyro\.param; got list"):
        log_marginal(Shared().model, guide, torch.randn(N, 2))
