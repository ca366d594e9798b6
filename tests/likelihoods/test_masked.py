"""Missing pixels: every likelihood gives log p of the observed ones, and log_marginal that of x_observed."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import JOINT_LIKELIHOODS, LIKELIHOODS, stirred
from torch import nn

from pyro_vae import (
    MLP,
    VAE,
    Bernoulli,
    Categorical,
    DiscretizedLogisticMixture,
    Gaussian,
    GaussianEncoder,
    LowRankGaussian,
    Masked,
    PixelCNN,
    StandardNormal,
    ZeroImputed,
    ZeroInflatedNegativeBinomial,
    bits_per_dim,
    fit,
    log_marginal,
    observed,
)
from pyro_vae.pairs.checks import check_values

ALL = {name: (make, (2, 3)) for name, make in LIKELIHOODS.items()} | JOINT_LIKELIHOODS
del ALL["Masked"], ALL["PixelCNN"]  # whose pixels depend on the missing ones: no marginal is known


@pytest.fixture(params=ALL)
def likelihood(request):
    build, event_shape = ALL[request.param]
    return stirred(build(event_shape))


@pytest.mark.parametrize("missing", ["none", "last"])
def test_what_is_missing_does_not_matter(likelihood, missing):
    """All observed: the likelihood itself. Else the same whatever stands there, no nan in any gradient."""
    h = nn.Parameter(0.5 * torch.randn(4, 5, *likelihood.feature_shape))
    px = likelihood(h)
    x, other = px.sample()[0], px.sample()[0]
    mask = torch.ones(likelihood.event_shape, dtype=torch.bool)
    if missing == "last":
        if mask.dim() == 1:  # counts and their exposure, which is always known
            mask[1] = False
        else:  # a row of pixels with all channels, or a one-hot vector
            mask[..., -1, :] = False
    part = observed(px, mask).log_prob(x)
    if missing == "none":
        torch.testing.assert_close(part, px.log_prob(x))
    else:
        assert (part > px.log_prob(x)).any() or (part < px.log_prob(x)).any()
    torch.testing.assert_close(observed(px, mask).log_prob(torch.where(mask, x, other)), part)
    torch.testing.assert_close(observed(px, mask).expand([2, 4, 5]).log_prob(x), part.expand(2, 4, 5))
    with_nan = torch.where(mask, x, math.nan)
    marked = Masked(likelihood)
    assert marked.support.check(with_nan).all()
    torch.testing.assert_close(marked(h).log_prob(with_nan), part)
    marked(h).log_prob(with_nan).sum().backward()
    assert h.grad.isfinite().all()


def test_independent_values_are_left_out(likelihood):
    h = torch.randn(5, *likelihood.feature_shape)
    px = likelihood(h)
    if isinstance(px, dist.Independent) and not px.base_dist.event_dim:
        mask = torch.tensor([[True, False, True], [False, False, True]])
        x = px.sample()
        expected = (px.base_dist.log_prob(x) * mask).sum((1, 2))
        torch.testing.assert_close(observed(px, mask).log_prob(x), expected)


def test_a_part_of_a_one_hot_vector_is_not_taken_for_a_missing_one():
    likelihood = Masked(Categorical((2, 3), data="one-hot"))
    x = torch.tensor([[[1.0, torch.nan, 0.0], [0.0, 1.0, 0.0]]])
    with pytest.raises(ValueError, match=r"^Expected vectors that are observed or missing as a whole; .* Mask all"):
        likelihood(torch.zeros(1, 2, 3)).log_prob(x)


def test_correlated_values_are_integrated_out():
    likelihood, mask = LowRankGaussian((2, 2), rank=2), torch.tensor([[True, False], [True, True]])
    h, x = torch.randn(4, 2, 2), torch.randn(2, 2)
    px, seen = likelihood(h), mask.flatten()
    covariance = px.factor @ px.factor.T + px.diagonal.diag()
    marginal = dist.MultivariateNormal(px.loc[seen], covariance[seen][:, seen])
    torch.testing.assert_close(observed(px, mask).log_prob(x), marginal.log_prob(x[mask]))


def test_colour_pixels_are_left_out_as_a_whole():
    likelihood, small = (DiscretizedLogisticMixture((3, 1, width), components=2) for width in (3, 2))
    h = torch.randn(likelihood.feature_shape)
    x = likelihood(h).sample()
    mask = torch.tensor([True, False, True])
    alone = small(h[..., mask]).log_prob(x[..., mask])
    torch.testing.assert_close(observed(likelihood(h), mask).log_prob(x), alone)


def test_one_hot_vectors_are_left_out_as_a_whole():
    likelihood, small = Categorical((3, 4), data="one-hot"), Categorical((2, 4), data="one-hot")
    h = torch.randn(3, 4)
    x = likelihood(h).sample()
    mask = torch.tensor([True, False, True])
    torch.testing.assert_close(observed(likelihood(h), mask[:, None]).log_prob(x), small(h[mask]).log_prob(x[mask]))


def test_masks_that_cannot_be_are_errors():
    colour = DiscretizedLogisticMixture((3, 2, 2))
    red_only = torch.tensor([True, False, False])[:, None, None]
    with pytest.raises(ValueError, match=r"missing with all three channels.*Mask whole pixels"):
        observed(colour(torch.zeros(colour.feature_shape)), red_only)
    counts = ZeroInflatedNegativeBinomial(3, exposure=True)
    with pytest.raises(ValueError, match="Expected the exposure of every observation; got one that is missing"):
        observed(counts(torch.zeros(counts.feature_shape)), torch.tensor([True, True, False]))
    with pytest.raises(TypeError, match=r"Expected independent values.*observed\(mask\); got MultivariateNormal\."):
        observed(dist.MultivariateNormal(torch.zeros(2), torch.eye(2)), torch.tensor([True, False]))
    with pytest.raises(TypeError, match=r"got PixelCNNDistribution\. Use another likelihood, or give"):
        Masked(PixelCNN((2, 2)))


def test_values_that_are_there_are_still_checked():
    likelihood = Masked(Bernoulli(3))
    with pytest.raises(ValueError, match=r"'x', 0 or 1; got values such as 0\.5"):
        check_values("x", likelihood.support, torch.tensor([[1.0, math.nan, 0.5]]))
    with pytest.raises(ValueError, match="within the support"):
        likelihood(torch.zeros(3)).log_prob(torch.tensor([1.0, math.nan, 0.5]))


class Linear(nn.Module):
    """x = W z + noise with missing values: log p(x_observed) is known."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 2))
        self.likelihood = Masked(Gaussian(5, scale=0.8))
        self.encoder = ZeroImputed(nn.Identity())

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            return pyro.sample("x", self.likelihood(z @ self.weight.T), obs=x)

    def guide(self, x):
        precision = torch.eye(2) + self.weight.T @ self.weight / 0.64
        loc = torch.linalg.solve(precision, self.encoder(x) @ self.weight / 0.64, left=False)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.5 * loc, 1.0).to_event(1))


@pytest.mark.parametrize("particles", [1, 2000])
def test_log_marginal_is_that_of_the_observed_values(particles):
    pair = Linear()
    x = torch.randn(6, 2) @ pair.weight.detach().T + 0.8 * torch.randn(6, 5)
    x[torch.rand(6, 5) < 0.4] = math.nan
    result = log_marginal(pair.model, pair.guide, x, num_samples=particles, estimator="guide")
    covariance = pair.weight.detach() @ pair.weight.detach().T + 0.64 * torch.eye(5)
    for i, seen in enumerate(~x.isnan()):
        part = dist.MultivariateNormal(torch.zeros(int(seen.sum())), covariance[seen][:, seen])
        truth = part.log_prob(x[i, seen]).item()
        if particles > 1:
            assert abs(result.log_prob[i].item() - truth) < 5 * result.standard_error[i].item()
        assert result.log_prob[i].isfinite()
    assert bits_per_dim(result.log_prob, (~x.isnan()).sum(1)).isfinite().all()


def test_a_vae_trains_on_images_with_holes():
    x = (torch.rand(60, 1, 4, 4) < 0.5).float()
    x[torch.rand_like(x) < 0.3] = math.nan
    likelihood = Masked(Bernoulli((1, 4, 4)))
    encoder = ZeroImputed(GaussianEncoder((1, 4, 4), 2))
    vae = VAE(StandardNormal(2), encoder, MLP(2, likelihood.feature_shape), likelihood)
    result = fit(vae.model, vae.guide, x, validation=x[:20], epochs=3, batch_size=20, progress=False)
    assert result.history[-1]["loss"] < result.history[0]["loss"]
    assert result.history[-1]["loss"] == pytest.approx(0.7 * 16 * math.log(2), rel=0.1)  # the observed pixels alone
    x[0, 0, 0, 0] = math.inf
    with pytest.raises(ValueError, match="Expected finite values in data; got 1 NaN or infinite ones"):
        fit(vae.model, vae.guide, x, epochs=1, progress=False)
