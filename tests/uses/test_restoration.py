"""Restoration against the closed forms of a linear-Gaussian pair, and observation models against brute force."""

import itertools

import pandas
import pyro
import pyro.distributions as dist
import pytest
import torch
from goodness_of_fit import assert_within_standard_errors

from pyro_vae import (
    Denoising,
    DiscretizedLogistic,
    Inpainting,
    SuperResolution,
    log_marginal,
    missing_log_prob,
    observing,
    restore,
)
from pyro_vae.likelihoods.masked import ObservedPart

SHAPE, NOISE = (1, 2, 4), 0.4
W = torch.randn(8, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)  # (D, latents)


def model(x):
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        loc = (z @ W.float().T).unflatten(-1, SHAPE)
        pyro.sample("x", dist.Normal(loc, NOISE).to_event(3), obs=x)


def guide(x):
    """A guess of the posterior that is none: too wide, and in the wrong place."""
    with pyro.plate("data", len(x), dim=-1):
        pyro.sample("z", dist.Normal(x.flatten(1) @ W.float() / 20, 0.8).to_event(1))


X = (torch.randn(3, 2, generator=torch.Generator().manual_seed(1)) @ W.float().T).unflatten(-1, SHAPE)
MISSING = torch.tensor([[0, 1, 1, 0], [1, 1, 1, 0]]).bool()[None]
BLOCKS = torch.zeros(2, 8, dtype=torch.float64)  # means of 2 x 2 pixels of 2 x 4
for block, pixels in enumerate(([0, 1, 4, 5], [2, 3, 6, 7])):
    BLOCKS[block, pixels] = 0.25
EYE = torch.eye(8, dtype=torch.float64)
CASES = {
    "mask": (Inpainting(), torch.where(MISSING, torch.nan, X), EYE[~MISSING.flatten()], 0.0),
    "noise": (Denoising(0.7), X + 0.3, EYE, 0.7),
    "blocks": (SuperResolution(2, 0.2), SuperResolution(2).reduced(X), BLOCKS, 0.2),
}


def closed_form(y, operator, scale):
    """Of y = A x + noise: log p(y), and mean and covariance over z|y of E[x|z, y]."""
    values = y.flatten(1).double()
    values = values[:, ~values[0].isnan()]
    covariance = NOISE**2 * operator @ operator.T + scale**2 * torch.eye(len(operator)).double()  # of y|z
    inside = operator @ W
    precision = torch.eye(2).double() + inside.T @ torch.linalg.solve(covariance, inside)
    posterior = torch.linalg.inv(precision)
    mean = values @ torch.linalg.solve(covariance, inside) @ posterior
    gain = NOISE**2 * operator.T @ torch.linalg.inv(covariance)
    to_x = W - gain @ inside
    marginal = torch.distributions.MultivariateNormal(
        torch.zeros(len(operator)).double(), inside @ inside.T + covariance
    )
    return marginal.log_prob(values), mean @ to_x.T + values @ gain.T, to_x @ posterior @ to_x.T


@pytest.mark.parametrize("case", CASES)
def test_samples_are_draws_of_the_posterior(case):
    observation, y, operator, scale = CASES[case]
    log_prob, mean, covariance = closed_form(y, operator, scale)
    found = restore(model, guide, y, observation, num_samples=500, num_proposals=500, num_transitions=40)
    assert found.samples.shape == (3, 500, *SHAPE)
    assert ((found.ess > 1) & (found.ess < 500)).all()
    assert ((found.acceptance > 0.5) & (found.acceptance < 1)).all()
    for samples, truth in zip(found.samples.flatten(2), mean, strict=True):
        for d in range(8):
            assert_within_standard_errors(samples[:, d], truth[d].item())
            assert_within_standard_errors((samples[:, d] - truth[d]).square(), covariance[d, d].item())
    estimate = log_marginal(*observing(model, guide, observation), (observation.guess(y), y), num_samples=500)
    assert ((estimate.log_prob - log_prob).abs() < 5 * estimate.standard_error + 1e-4).all()


def test_chosen_draws_alone_are_the_posterior_too():
    """Without transitions, from many proposals."""
    observation, y, operator, scale = CASES["mask"]
    _, mean, _ = closed_form(y, operator, scale)
    found = restore(model, guide, y, observation, num_samples=400, num_proposals=20_000, num_transitions=0)
    assert found.acceptance.isnan().all()
    assert (found.ess > 400).all()
    for samples, truth in zip(found.samples.flatten(2), mean, strict=True):
        for d in MISSING.flatten().nonzero().flatten():
            assert_within_standard_errors(samples[:, d], truth[d].item())
    known = ~MISSING.expand(3, *SHAPE)
    assert torch.allclose(found.mean[known], X[known], atol=1e-5)
    assert (found.spread[~known] > 0).all()


def test_log_p_of_what_is_missing_is_the_conditional_density():
    whole, part = closed_form(X, EYE, 0.0)[0], closed_form(*CASES["mask"][1:])[0]
    found = missing_log_prob(model, guide, X, MISSING, num_samples=400)
    assert found.bound == "none"
    assert ((found.log_prob - (whole - part)).abs() < 5 * found.standard_error + 1e-4).all()
    with pytest.raises(ValueError, match="got all or none"):
        missing_log_prob(model, guide, X, torch.zeros(SHAPE))


def test_arrays_and_frames_are_data_as_tensors_are():
    """In the dtype of the pair; a frame for a pair of flat data."""
    y, missing = torch.where(MISSING, torch.nan, X), MISSING.numpy()
    settings = {"num_samples": 3, "num_proposals": 5, "num_transitions": 2}
    found = restore(model, guide, y, Inpainting(), **settings)
    again = restore(model, guide, y.double().numpy(), Inpainting(), guess=X.numpy() * 0, **settings)
    assert again.samples.dtype is torch.float32
    assert restore(model, guide, y.numpy(), Inpainting(), **settings).samples.equal(found.samples)
    expected = missing_log_prob(model, guide, X, MISSING, num_samples=50)
    assert missing_log_prob(model, guide, X.numpy(), missing, num_samples=50).log_prob.equal(expected.log_prob)

    def flat_model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ W.float().T, NOISE).to_event(1), obs=x)

    frame, holes = pandas.DataFrame(X.flatten(1).numpy()), pandas.DataFrame(y.flatten(1).numpy())
    flat = restore(flat_model, guide, holes, Inpainting(), **settings)
    assert torch.allclose(flat.samples, found.samples.flatten(2), atol=1e-5)
    of_frames = missing_log_prob(flat_model, guide, frame, holes.isna(), num_samples=50)
    assert torch.allclose(of_frames.log_prob, expected.log_prob, atol=1e-4)
    with pytest.raises(TypeError, match="Expected one tensor or array for y; got several"):
        restore(model, guide, (y, y), Inpainting())
    with pytest.raises(ValueError, match=r"Expected missing of the shape of x, \(3, 1, 2, 4\), or of one data point"):
        missing_log_prob(model, guide, X, missing[..., :3])


def test_what_is_missing_is_filled_in_on_the_device_of_the_data():
    px = dist.Normal(torch.zeros(1, 2, device="meta"), 1.0, validate_args=False).to_event(1)
    assert Inpainting()(px).log_prob(torch.zeros(1, 2, device="meta")).device.type == "meta"


@pytest.mark.parametrize("case", CASES)
def test_a_likelihood_for_missing_values_restores_as_that_for_whole_ones(case):
    """The posterior is the same: the guide sees the same guess, and p(y|z) is the same density."""
    observation, y, _, _ = CASES[case]

    def masked(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            loc = (z @ W.float().T).unflatten(-1, SHAPE)
            pyro.sample("x", ObservedPart(dist.Normal(loc, NOISE).to_event(3), torch.zeros(SHAPE)), obs=x)

    settings = {"num_samples": 4, "num_proposals": 20, "num_transitions": 5}
    found, whole = (restore(each, guide, y, observation, **settings) for each in (masked, model))
    assert torch.allclose(found.samples, whole.samples, atol=1e-5)


def test_binary_pixels_under_noise_are_summed_over():
    probs, y, noise = torch.tensor([[0.2, 0.9, 0.5]]), torch.tensor([[0.4, -0.3, 1.2]]), Denoising(0.6)
    px = dist.Bernoulli(probs).to_event(1)
    terms = {
        x: px.log_prob(torch.tensor([x])) + dist.Normal(torch.tensor([x]), 0.6).to_event(1).log_prob(y)
        for x in itertools.product((0.0, 1.0), repeat=3)
    }
    together = torch.stack([*terms.values()])
    assert torch.allclose(noise(px).log_prob(y), together.logsumexp(0), atol=1e-5)
    mean = (together.softmax(0) * torch.tensor([*terms])).sum(0)
    assert torch.allclose(noise.restored(px, y), mean[None], atol=1e-5)


@pytest.mark.parametrize("observation", [Denoising(0.1), SuperResolution(2, 0.1)], ids=["noise", "blocks"])
def test_levels_keep_their_mean_and_variance(observation):
    """Moments of what was observed, against draws; and the variance of rounded values against a sum over levels."""
    torch.manual_seed(0)
    px = DiscretizedLogistic((1, 2, 4), levels=9)(torch.randn(1, 2, 1, 2, 4))
    levels = torch.linspace(0, 1, 9)[:, None, None, None, None].expand(9, 1, 1, 2, 4)
    probs = px.base_dist.log_prob(levels).exp()
    variance = (probs * levels**2).sum(0) - (probs * levels).sum(0) ** 2
    assert torch.allclose(px.base_dist.variance, variance, atol=1e-6)
    x = px.sample((20_000,))
    y = x + 0.1 * torch.randn_like(x)
    if isinstance(observation, SuperResolution):
        y = observation.reduced(x)
        y = y + 0.1 * torch.randn_like(y)
    py = observation(px)
    for draws, mean, spread in zip(y.flatten(1).T, py.mean.flatten(), py.variance.flatten(), strict=True):
        assert_within_standard_errors(draws, mean.item())
        assert_within_standard_errors((draws - mean).square(), spread.item())


def test_a_map_of_ones_own():
    """Of any y = f(x) + noise, with a guess."""
    double = lambda px: dist.Normal(2 * px.mean, 0.5).to_event(3)  # noqa: E731
    found = restore(model, guide, 2 * X, double, guess=X, num_samples=4, num_transitions=30)
    assert found.samples.shape == (3, 4, *SHAPE)
    assert (found.mean - X).square().mean() < 0.1
    assert "3 data points, 4 samples each" in repr(found)
    assert "effective sample size" in found._repr_html_()
    again = restore(model, guide, 2 * X, double, guess=X, num_samples=4, num_transitions=30)
    assert torch.equal(again.samples, found.samples)


def test_refused_in_a_sentence():
    def two(x):
        model(x)
        with pyro.plate("again", len(x), dim=-1):
            pyro.sample("y", dist.Normal(0.0, 1.0), obs=x[:, 0, 0, 0])

    def coins(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Bernoulli(0.5).expand([len(x)]))
            pyro.sample("x", dist.Normal(z[..., None, None, None].expand(*z.shape, *SHAPE), 1.0).to_event(3), obs=x)

    def coin(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Bernoulli(0.5).expand([len(x)]))

    with pytest.raises(ValueError, match="Expected a guess of x"):
        restore(model, guide, X, lambda px: px)
    with pytest.raises(ValueError, match="at one site"):
        restore(two, guide, X, Denoising(0.1))
    with pytest.raises(ValueError, match="'z' is discrete"):
        restore(coins, coin, X, Denoising(0.1))
    with pytest.raises(ValueError, match=r"Expected y of shape \(N, 1, 2, 4\)"):
        restore(model, guide, X[..., :2], Denoising(0.1), guess=X)
    with pytest.raises(ValueError, match="whose height and width 3 divides"):
        SuperResolution(3).reduced(X)
    with pytest.raises(ValueError, match="finite scale > 0"):
        Denoising(0.0)
    with pytest.raises(ValueError, match="num_samples >= 1"):
        restore(model, guide, X, Denoising(0.1), num_samples=0)
    with pytest.raises(TypeError, match="independent values"):
        Denoising(0.1)(dist.MultivariateNormal(torch.zeros(3), torch.eye(3)))


def test_samples_that_begin_at_one_draw_are_said():
    known = torch.where(MISSING, torch.nan, 3 * X)  # far from the guide's draws
    found = restore(model, guide, known, Inpainting(), num_samples=2, num_proposals=3, num_transitions=1)
    assert torch.equal(found.from_one_draw, found.ess < 2)
    assert found.from_one_draw.any()
    said = (
        f"begun at one draw     {int(found.from_one_draw.sum())} of 3 data points, whose samples may be too much alike"
    )
    assert said in repr(found)
    many = restore(model, guide, X, Denoising(20.0), num_samples=2, num_transitions=0)
    assert "one draw" not in repr(many)
