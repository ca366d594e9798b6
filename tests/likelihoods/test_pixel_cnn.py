"""The autoregressive likelihood: what each pixel sees, what probabilities sum to, and that its sampler fits them."""

import functools
import itertools

import pyro
import pytest
import torch
from contracts import assert_gradients_reach_everything
from examples import patterns, small_mlp, stirred
from goodness_of_fit import assert_counts_fit
from torch import nn

from pyro_vae import (
    VAE,
    Bernoulli,
    CompiledELBO,
    DiscretizedLogistic,
    Gaussian,
    GaussianEncoder,
    PixelCNN,
    StandardNormal,
    VonMises,
    fit,
    log_marginal,
    reconstruct,
)

small = functools.partial(PixelCNN, channels=6, num_layers=2, kernel_size=3)
PIXELS = {
    "Bernoulli": Bernoulli,
    "Gaussian": functools.partial(Gaussian, scale="per-pixel"),
    "DiscretizedLogistic": functools.partial(DiscretizedLogistic, levels=3),
}


@pytest.fixture(params=PIXELS)
def likelihood(request):
    return stirred(small((2, 3, 4), PIXELS[request.param]))


def all_images(*shape):
    """All binary images of a shape."""
    count = torch.Size(shape).numel()
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=count))).reshape(-1, *shape)


def seen(likelihood, event_shape):
    """Whether value j of x enters the features of value i, by the Jacobian at a few places: ReLUs may be off at one."""
    likelihood = likelihood.double()
    size = torch.Size(event_shape).numel()
    found = torch.zeros(size, size, dtype=torch.bool)
    for _ in range(5):
        h = torch.randn(likelihood.feature_shape).double().reshape(-1, *event_shape)

        def features(x, h=h):
            return likelihood.network(torch.cat([x[None], h])).sum(0).flatten()

        x = torch.randn(event_shape).double()
        found |= torch.autograd.functional.jacobian(features, x).reshape(size, size) != 0
    return found


@pytest.mark.parametrize("event_shape", [(1, 4, 5), (4, 5), (3, 3, 4), (2, 3, 2, 2)])
@pytest.mark.parametrize("pixels", PIXELS.values(), ids=PIXELS)
def test_every_value_sees_all_before_it_and_nothing_else(event_shape, pixels):
    """In rows from the top left, colours last: neither itself nor a later value, and no blind spot."""
    likelihood = stirred(PixelCNN(event_shape, pixels, channels=24, num_layers=3, kernel_size=5))
    height, width = event_shape[-2:]
    order = torch.arange(torch.Size(event_shape).numel()).reshape(height, width, -1).permute(2, 0, 1).flatten()
    assert (seen(likelihood, event_shape) == (order[None] < order[:, None])).all()


def test_a_pixel_sees_as_far_as_is_said():
    likelihood = stirred(PixelCNN((1, 9, 9), channels=4, num_layers=2, kernel_size=3))
    corner = seen(likelihood, (1, 9, 9)).reshape(9, 9, 9, 9)[6, 4]  # what pixel (6, 4) sees
    expected = torch.zeros(9, 9, dtype=torch.bool)
    expected[3:6, 2:7] = expected[6, 2:4] = True
    assert not (corner & ~expected).any()
    assert corner[4:6, 2:7].all()
    assert corner[6, 2:4].all()


@pytest.mark.parametrize("event_shape", [(1, 3, 3), (2, 2, 2)])
def test_probabilities_of_all_images_sum_to_one(event_shape):
    likelihood = stirred(small(event_shape), scale=0.5).double()
    h = torch.randn(4, 1, *likelihood.feature_shape).double()
    log_prob = likelihood(h).log_prob(all_images(*event_shape).double())
    torch.testing.assert_close(log_prob.logsumexp(-1), torch.zeros(4).double())
    assert (log_prob[0] - Bernoulli(event_shape)(h[0]).log_prob(all_images(*event_shape).double())).abs().max() > 0.1


@pytest.mark.parametrize("event_shape", [(1, 2, 4), (2, 2, 2), (8, 1)])
def test_sampler_fits_the_probabilities(event_shape):
    likelihood = stirred(PixelCNN(event_shape, channels=4, num_layers=1, kernel_size=3), scale=0.7)
    px, images = likelihood(torch.randn(likelihood.feature_shape)), all_images(*event_shape)
    draws = px.sample((20_000,)).flatten(1).long()
    code = draws @ (2 ** torch.arange(7, -1, -1))
    assert_counts_fit(torch.bincount(code, minlength=256).double(), px.log_prob(images).detach().double().exp())


def test_features_of_one_value_after_the_other_are_those_that_are_scored(likelihood):
    """Also on images larger than what a pixel sees, and whatever stands where nothing is drawn yet."""
    likelihood = stirred(small((2, 9, 8), type(likelihood.pixels)))
    both = torch.randn(3, *likelihood.network.in_shape).flatten(1, 2)
    whole, x, h = likelihood.network.layers(both), both[:, :2], both[:, 2:]
    later = torch.randn_like(x)
    places = []
    for row, column, colour, features in likelihood.network.layers.by_value(later, h):
        of_colour = slice(colour, None, 2)
        torch.testing.assert_close(features[:, of_colour], whole[:, of_colour, row, column])
        later[:, colour, row, column] = x[:, colour, row, column]
        places.append((row, column, colour))
    assert places == list(itertools.product(range(9), range(8), range(2)))


def test_shapes_and_support(likelihood):
    px = likelihood(torch.randn(4, 5, *likelihood.feature_shape))
    assert (px.batch_shape, px.event_shape) == ((4, 5), (2, 3, 4))
    x = px.sample()
    assert x.shape == (4, 5, 2, 3, 4)
    assert px.support.check(x).all()
    assert likelihood.support.check(x).all()
    assert px.expand((7, 4, 5)).sample().shape == (7, 4, 5, 2, 3, 4)
    assert px.sample((0,)).shape == (0, 4, 5, 2, 3, 4)
    with pytest.raises(NotImplementedError):
        _ = px.mean


def test_particles_are_scored_one_by_one(likelihood):
    h = torch.randn(4, 5, *likelihood.feature_shape)
    x = likelihood(h[0]).sample()
    one_by_one = torch.stack([torch.stack([likelihood(h[k, b]).log_prob(x[b]) for b in range(5)]) for k in range(4)])
    torch.testing.assert_close(likelihood(h).log_prob(x), one_by_one)


def test_starts_as_the_likelihood_of_its_pixels():
    mean = torch.rand(1, 3, 4)
    h, x = torch.randn(5, 1, 3, 4), (torch.rand(5, 1, 3, 4) < 0.5).float()
    expected = Bernoulli((1, 3, 4), mean=mean)(h).log_prob(x)
    torch.testing.assert_close(PixelCNN((1, 3, 4), mean=mean)(h).log_prob(x), expected)
    PixelCNN((1, 3, 4), VonMises, mean=mean)  # has no use for it


def test_gradients_reach_every_parameter_and_feature(likelihood):
    h = nn.Parameter(torch.randn(20, *likelihood.feature_shape))
    x = likelihood(h).sample()
    assert_gradients_reach_everything(nn.ParameterList([h, *likelihood.parameters()]), likelihood(h).log_prob(x).sum())
    assert (h.grad != 0).all()


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: PixelCNN(784), r"Expected event_shape of an image, .* got \(784,\)\. Use another likelihood for flat"),
        (lambda: PixelCNN((3, 4, 4), channels=2), r"Expected channels >= 3, the number of colours, and num_layers"),
        (lambda: PixelCNN((4, 4), num_layers=0), r"num_layers >= 1; got 32 and 0\."),
        (lambda: PixelCNN((4, 4), kernel_size=4), r"Expected an odd kernel_size of at least 3; got 4\."),
    ],
)
def test_errors_say_what_was_expected(build, text):
    with pytest.raises(ValueError, match=text):
        build()


def vae():
    px = small((1, 3, 4))
    encoder = GaussianEncoder((1, 3, 4), 2, network=small_mlp)
    return VAE(StandardNormal(2), encoder, small_mlp(2, px.feature_shape), px)


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")  # 50 samples are few
def test_a_vae_with_it_trains_and_is_evaluated():
    x, own = patterns(48, (1, 3, 4)), vae()
    few = x[:9]
    before = log_marginal(own.model, own.guide, few, num_samples=50, estimator="guide").mean.value
    fit(own.model, own.guide, x, epochs=30, batch_size=16, compile=False)
    after = log_marginal(own.model, own.guide, few, num_samples=50, estimator="guide")
    assert after.mean.value > before + 1
    again = log_marginal(own.model, own.guide, few, num_samples=50, chunk_size=9, seed=1, estimator="guide")
    assert abs(again.mean.value - after.mean.value) < 5 * (again.mean.monte_carlo_error + after.mean.monte_carlo_error)


def test_a_reconstruction_is_a_draw_and_not_the_data():
    x, own = patterns(20, (1, 3, 4)), vae()
    drawn = reconstruct(own.model, own.guide, x)
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(drawn, x)


def test_compiled_steps_equal_plain_ones():
    losses = []
    x = patterns(12, (1, 3, 4))
    for wrap in (lambda elbo: elbo, functools.partial(CompiledELBO, backend="eager")):
        torch.manual_seed(1)
        own, elbo = stirred(vae()), wrap(pyro.infer.Trace_ELBO())
        result = fit(own.model, own.guide, x, objective=elbo, epochs=3, batch_size=6, compile=False, seed=0)
        losses.append([epoch["loss"] for epoch in result.history])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
