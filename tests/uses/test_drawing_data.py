"""Data are drawn only from models that do not read them beforehand; one of several observed sites is named."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from goodness_of_fit import assert_within_standard_errors

from pyro_vae import annealed_log_marginal, bidirectional, decode, log_marginal, plots, reconstruct, sample
from pyro_vae.uses.latent_walks import between, manifold, traverse


def normal_guide(x):
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x.mean(-1, keepdim=True).expand(len(x), 2), 1.0).to_event(1))


def reading(kind):
    """Models with latents (B, 2) that read the argument before they observe it."""

    def model(x):
        earlier = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
        shift = 0.01 * earlier if kind == "weakly" else earlier
        with pyro.plate("data", len(x), dim=-1):
            loc = x[:, :1] if kind == "prior" else torch.zeros(1, 1)
            z = pyro.sample("z", dist.Normal(loc.expand(len(x), 2), 1.0).to_event(1))
            if kind == "prior":
                px = dist.Normal(z[:, :1].expand_as(x), 1.0)
            elif kind == "coins":
                px = dist.Bernoulli(logits=z[:, :1] + earlier)
            elif kind == "bounds":  # what was drawn may lie outside the support for another argument
                px = dist.Uniform(earlier.clamp(-1, 1) - 2, earlier.clamp(-1, 1) + z[:, :1].exp())
            else:
                px = dist.Normal(z[:, :1] + shift, 1.0)
            pyro.sample("x", px.to_event(1), obs=x)

    return model


LIKES = {"zeros": torch.zeros(20, 4), "ones": torch.ones(20, 4), "constant": torch.full((20, 4), 10.0)}


@pytest.mark.parametrize("like", LIKES.values(), ids=LIKES)
@pytest.mark.parametrize("kind", ["previous value", "weakly", "prior", "coins", "bounds"])
def test_a_model_that_reads_its_argument_is_refused(kind, like):
    model = reading(kind)
    latents = {} if kind == "prior" else {"z": torch.zeros(2, 2)}  # given z, that model reads nothing
    for use in (
        lambda: sample(model, like),
        lambda: decode(model, latents, like) if latents else sample(model, like, seed=1),
        lambda: bidirectional(model, normal_guide, like, start="prior", num_chains=2, num_temperatures=2),
    ):
        with pytest.raises(ValueError, match=r"reads nothing off its argument .* at site '[xz]' .* PixelCNN"):
            use()


def test_so_is_all_that_decodes():
    model, x = reading("previous value"), torch.ones(20, 4)
    for use in (
        lambda: reconstruct(model, normal_guide, x),
        lambda: traverse(model, normal_guide, x[:1], dims=[0], values=torch.zeros(3)),
        lambda: between(model, normal_guide, x[:2], x[2:4]),
        lambda: manifold(model, normal_guide, x, coordinates=torch.zeros(2)),
    ):
        with pytest.raises(ValueError, match="reads nothing off its argument"):
            use()


def test_its_log_p_is_estimated_all_the_same():
    """x_t | x_<t, z ~ N(x_{t-1} + z, 1) given x is linear and Gaussian: the steps are N(z, 1) with z shared."""
    model, x = reading("previous value"), torch.randn(3, 4)
    steps = x.diff(dim=1, prepend=torch.zeros(3, 1))
    truth = dist.MultivariateNormal(torch.zeros(4), torch.eye(4) + 1).log_prob(steps)
    plain = log_marginal(model, normal_guide, x, num_samples=2000, estimator="guide")
    chains = annealed_log_marginal(model, normal_guide, x, start="prior", num_chains=30, num_temperatures=10)
    for result in (plain, chains):
        assert ((result.log_prob - truth).abs() < 5 * result.standard_error).all()


def two_sites(x):
    """An image that is observed, and a label beside it."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), 0.1).expand([len(x), 4]).to_event(1), obs=x)
        pyro.sample("y", dist.Bernoulli(logits=9 * z.sum(-1)), obs=torch.zeros(len(x)))
        pyro.factor("extra", 0 * z.sum(-1))  # no observed value


def test_of_several_observed_sites_one_is_named():
    like = torch.zeros(4000, 4)
    x, means = sample(two_sites, like, site="x")
    y, probs = sample(two_sites, like, site="y")
    assert (x.shape, y.shape) == (means.shape, probs.shape) == (like.shape, (4000,))
    assert_within_standard_errors(y - torch.sigmoid(9 * means[:, 0]), 0.0)  # both of one draw
    rebuilt = reconstruct(two_sites, normal_guide, like, site="y")
    assert rebuilt.shape == (4000,)
    code = {"z": torch.tensor([[1.0, 1.0], [-1.0, -1.0]])}
    assert decode(two_sites, code, like, site="y").round().tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"Expected site 'y' to observe an input of the model as it is"):
        bidirectional(two_sites, normal_guide, like)
    with pytest.raises(ValueError, match=r"Expected one site of images; got sites of shapes .*'x': \(2, 4\)"):
        plots.samples(two_sites, torch.zeros(2, 1, 2, 2))
    with pytest.raises(ValueError, match=r"one that the model observes, \['x', 'y'\]; got 'z'"):
        sample(two_sites, like, site="z")


def test_what_a_factor_weights_is_not_drawn_without_it():
    def weighted(x):
        two_sites(x)
        with pyro.plate("again", len(x), dim=-1):
            pyro.factor("weight", torch.full((len(x),), -1.0))

    like, code = torch.zeros(4, 4), {"z": torch.ones(1, 2)}
    for use in (lambda: sample(weighted, like, site="x"), lambda: bidirectional(weighted, normal_guide, like)):
        with pytest.raises(ValueError, match=r"a model that can be drawn from; got the pyro\.factor 'weight'"):
            use()
    assert torch.equal(decode(weighted, code, like, site="x"), decode(two_sites, code, like, site="x"))


def test_of_several_observed_sites_all_are_given():
    like, code = torch.zeros(30, 4), {"z": torch.tensor([[1.0, 1.0], [-1.0, -1.0]])}
    draws, means = sample(two_sites, like)
    rebuilt, decoded = reconstruct(two_sites, normal_guide, like), decode(two_sites, code, like)
    way = between(two_sites, normal_guide, like[:3], like[3:6], steps=4)
    for site in ("x", "y"):
        assert torch.equal(draws[site], sample(two_sites, like, site=site)[0])
        assert torch.equal(means[site], sample(two_sites, like, site=site)[1])
        assert torch.equal(rebuilt[site], reconstruct(two_sites, normal_guide, like, site=site))
        assert torch.equal(decoded[site], decode(two_sites, code, like, site=site))
        assert way[site].shape == (3, 4, *like.shape[1:][: 1 if site == "x" else 0])
    assert manifold(two_sites, normal_guide, like, coordinates=torch.zeros(2))["y"].shape == (4,)
    assert traverse(two_sites, normal_guide, like[:1], dims=[1, 0], values=torch.zeros(3))["x"].shape == (2, 3, 4)


@pytest.mark.parametrize("latents", [{}, {"z": torch.zeros(2, 2), "w": torch.zeros(3, 2)}])
def test_latents_of_no_or_of_several_numbers_are_refused(latents):
    with pytest.raises(ValueError, match=r"Expected the latents of one number of data points; got numbers \["):
        decode(two_sites, latents, torch.zeros(1, 4), site="x")
