"""Draws and reconstructions come from the model that is trained, for any pair."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import PAIRS, LinearGaussian
from goodness_of_fit import assert_within_standard_errors

from pyro_vae import decode, encode, encode_with_scales, interpolate, reconstruct, sample
from pyro_vae.distributions.von_mises_fisher import VonMisesFisher
from pyro_vae.uses.latent_walks import between, manifold, most_varied, prior_quantiles, traverse


@pytest.mark.parametrize("name", PAIRS)
def test_samples_and_reconstructions_of_every_pair(name):
    pair = PAIRS[name]()
    with pyro.get_param_store().scope():
        pair.guide(pair.x), pair.model(pair.x)
        state = torch.get_rng_state()
        draws, means = sample(pair.model, pair.x, seed=1)
        again, _ = sample(pair.model, torch.zeros_like(pair.x), seed=1)
        assert torch.equal(draws, again)  # of the model alone: the images given do not matter
        shape = pair.x.mT.shape if len(draws) != len(pair.x) else pair.x.shape  # images of an inner plate lie across
        assert draws.shape == means.shape == shape
        assert not torch.equal(draws, sample(pair.model, pair.x, seed=2)[0])
        first = reconstruct(pair.model, pair.guide, pair.x, seed=1)
        assert first.shape == shape
        assert torch.equal(first, reconstruct(pair.model, pair.guide, pair.x, seed=1))
        assert not first.requires_grad
        assert torch.equal(torch.get_rng_state(), state)


def test_samples_have_the_moments_of_p_x():
    linear = LinearGaussian()
    draws, _ = sample(linear.model, torch.zeros(20_000, 5))
    with torch.no_grad():
        covariance = linear.weight @ linear.weight.T + (2 * linear.log_scale).exp() * torch.eye(5)
        centred = draws - linear.bias
        for i in range(5):
            assert_within_standard_errors(centred[:, i], 0.0)
            for j in range(i + 1):
                assert_within_standard_errors(centred[:, i] * centred[:, j], covariance[i, j].item())


def test_reconstructions_are_means_at_a_draw_from_the_guide():
    linear = LinearGaussian()
    x = torch.randn(4, 5)
    draws = torch.stack([reconstruct(linear.model, linear.guide, x, seed=s) for s in range(400)])
    with torch.no_grad():
        expected = linear.posterior(x).mean @ linear.weight.T + linear.bias
    for b in range(4):
        for d in range(5):
            assert_within_standard_errors(draws[:, b, d], expected[b, d].item())


def test_a_distribution_without_a_mean_shows_its_draw():
    class Meanless(dist.Normal):
        @property
        def mean(self):
            raise NotImplementedError

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", Meanless(torch.zeros(len(x)), 1.0), obs=x)

    draws, means = sample(model, torch.zeros(5))
    assert torch.equal(draws, means)


def test_without_an_observed_site_there_is_nothing_to_draw():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.0, 1.0))

    with pytest.raises(
        ValueError, match=r"Expected a model with an observed site, pyro.sample\(\.\.\., obs=x\); got none"
    ):
        sample(model, torch.randn(5, 2))


def test_codes_are_means_in_the_order_of_the_model():
    linear, x = LinearGaussian(), torch.randn(4, 5)
    codes = encode(linear.model, linear.guide, x)
    assert list(codes) == ["z"]
    torch.testing.assert_close(codes["z"], linear.posterior(x).mean.detach())
    two = PAIRS["two levels"]()
    codes = encode(two.model, two.guide, two.x)  # its guide draws z1 first
    assert {name: tuple(code.shape) for name, code in codes.items()} == {"z2": (24, 2), "z1": (24, 3)}
    assert list(codes) == ["z2", "z1"]


def test_scales_are_those_of_the_posterior():
    linear, x = LinearGaussian(), torch.randn(4, 5)
    mean, scale = encode_with_scales(linear.model, linear.guide, x)["z"]
    posterior = linear.posterior(x)
    torch.testing.assert_close(mean, posterior.mean.detach())
    torch.testing.assert_close(scale, posterior.stddev.detach().expand(4, -1))


def test_data_points_come_first_in_codes_with_scales():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            with pyro.plate("parts", 3, dim=-2):
                z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z.sum(0), 1.0), obs=x)

    def guide(x):
        with pyro.plate("parts", 3, dim=-2), pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x * torch.arange(3.0)[:, None], 0.5))

    mean, scale = encode_with_scales(model, guide, x := torch.randn(4))["z"]
    torch.testing.assert_close(mean, x[:, None] * torch.arange(3.0))
    torch.testing.assert_close(scale, torch.full((4, 3), 0.5))


def test_without_a_closed_form_there_is_no_scale():
    class Meanless(dist.Normal):
        @property
        def mean(self):
            raise NotImplementedError

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", Meanless(x, 1.0))

    assert encode_with_scales(model, guide, torch.randn(4))["z"][1] is None


def test_decoding_a_code_is_the_mean_at_it():
    linear, z = LinearGaussian(), torch.randn(7, 2)
    with torch.no_grad():
        expected = z @ linear.weight.T + linear.bias
    torch.testing.assert_close(decode(linear.model, {"z": z}, torch.zeros(1, 5)), expected)


def test_latents_that_are_not_given_are_the_same_for_all():
    two = PAIRS["two levels"]()
    z2 = torch.tensor([[0.5, -1.0], [2.0, 0.0], [0.5, -1.0]])
    images = decode(two.model, {"z2": z2}, two.x)
    assert torch.equal(images[0], images[2])
    assert not torch.equal(images[0], images[1])
    assert not torch.equal(images, decode(two.model, {"z2": z2}, two.x, seed=1))


def test_decoding_refuses_an_unknown_site():
    linear = LinearGaussian()
    with pytest.raises(ValueError, match=r"Expected latent sites of the model, \['z'\]; got \['y'\]"):
        decode(linear.model, {"z": torch.zeros(1, 2), "y": torch.zeros(1, 2)}, torch.zeros(1, 5))


def test_a_straight_way_has_even_steps():
    start, end = torch.randn(2, 6, 4)
    way = interpolate(start, end, steps=5)
    assert way.shape == (6, 5, 4)
    torch.testing.assert_close(way.diff(dim=1), ((end - start) / 4)[:, None].expand(6, 4, 4))
    torch.testing.assert_close(way[:, 0], start)


def test_a_way_along_the_sphere_keeps_its_length_and_turns_evenly():
    start, end = torch.randn(2, 6, 4, dtype=torch.float64)
    end = end * start.norm(dim=-1, keepdim=True) / end.norm(dim=-1, keepdim=True)
    way = interpolate(start, end, steps=5, path="sphere")
    torch.testing.assert_close(way[:, 0], start)
    torch.testing.assert_close(way[:, -1], end)
    torch.testing.assert_close(way.norm(dim=-1), start.norm(dim=-1)[:, None].expand(6, 5))
    turns = torch.cosine_similarity(way[:, 1:], way[:, :-1], dim=-1).acos()
    torch.testing.assert_close(turns, turns.mean(1, keepdim=True).expand_as(turns))
    whole = torch.cosine_similarity(start, end, dim=-1).acos()
    torch.testing.assert_close(turns.sum(1), whole)  # the short way round


def test_a_way_along_the_sphere_between_parallel_points_is_straight():
    point = torch.randn(1, 4)
    for end in (point, 2 * point):
        torch.testing.assert_close(interpolate(point, end, path="sphere"), interpolate(point, end))
    with pytest.raises(ValueError, match="not opposite to each other"):
        interpolate(point, -point, path="sphere")


@pytest.mark.parametrize(
    ("options", "text"),
    [({"steps": 1}, r"Expected steps >= 2; got 1"), ({"path": "arc"}, "linear or sphere; got 'arc'")],
)
def test_ways_that_do_not_exist(options, text):
    with pytest.raises(ValueError, match=text):
        interpolate(torch.zeros(1, 2), torch.ones(1, 2), **options)


class OnSphere:
    """x is z itself, on the unit sphere."""

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", VonMisesFisher(torch.tensor([1.0, 0.0, 0.0]), torch.tensor(1.0)))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", VonMisesFisher(torch.nn.functional.normalize(x, dim=-1), torch.tensor(20.0)))


def test_codes_on_a_sphere_stay_there():
    pair, x = OnSphere(), torch.nn.functional.normalize(torch.randn(4, 3), dim=-1)
    values = torch.tensor([-2.0, 0.0, 0.5])
    moved = traverse(pair.model, pair.guide, x[:1], dims=[1], values=values)[0]
    code = encode(pair.model, pair.guide, x[:1])["z"][0]  # the mean of q lies inside the sphere
    expected = torch.stack([torch.stack([code[0], value, code[2]]) for value in values])
    torch.testing.assert_close(moved, expected / expected.norm(dim=-1, keepdim=True))
    for path in ("linear", "sphere"):
        way = between(pair.model, pair.guide, x[:2], x[2:], steps=5, path=path)
        torch.testing.assert_close(way.norm(dim=-1), torch.ones(2, 5))
        torch.testing.assert_close(way[:, 0], x[:2])
    grid = manifold(pair.model, pair.guide, x, coordinates=torch.tensor([-1.0, 1.0]))
    torch.testing.assert_close(grid.norm(dim=-1), torch.ones(4))


def test_latents_that_cannot_be_moved_one_by_one():
    class Switches:
        def model(self, x):
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", dist.Bernoulli(torch.full((3,), 0.5)).to_event(1))
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Bernoulli(logits=x).to_event(1))

    pair, x = Switches(), torch.randn(4, 3)
    axis = torch.tensor([-1.0, 1.0])
    with pytest.raises(ValueError, match=r"moved one by one, .*Boolean.* Interpolate between"):
        traverse(pair.model, pair.guide, x[:1], dims=[1], values=axis)
    with pytest.raises(ValueError, match="moved one by one"):
        manifold(pair.model, pair.guide, x, coordinates=axis)
    way = between(pair.model, pair.guide, x[:2], x[2:], steps=3)  # of probabilities
    torch.testing.assert_close(way, interpolate(x[:2].sigmoid(), x[2:].sigmoid(), steps=3))


def test_dimensions_that_vary_most_come_first():
    linear = LinearGaussian()
    x = sample(linear.model, torch.zeros(200, 5))[0]
    variances = linear.posterior(x).mean.var(0)
    assert most_varied(linear.model, linear.guide, x, count=2) == variances.argsort(descending=True).tolist()
    assert most_varied(linear.model, linear.guide, x, count=1) == [variances.argmax().item()]


def test_quantiles_of_a_prior_are_exact_or_those_of_its_draws():
    mixture = dist.MixtureSameFamily(
        dist.Categorical(torch.tensor([0.25, 0.75])),
        dist.Normal(torch.tensor([[-5.0, 1.0], [5.0, 1.0]]), 0.01).to_event(1),
    )

    def pair(prior):
        def model(x):
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", prior)
                pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

        return model

    probabilities = torch.tensor([0.1, 0.5, 0.9])
    normal = dist.Normal(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 3.0])).to_event(1)
    found = prior_quantiles(pair(normal), torch.zeros(1, 2), dims=[1, 0], probabilities=probabilities)
    torch.testing.assert_close(found[1], dist.Normal(0.0, 1.0).icdf(probabilities))
    torch.testing.assert_close(found[0], dist.Normal(1.0, 3.0).icdf(probabilities))
    found = prior_quantiles(pair(mixture), torch.zeros(1, 2), dims=[0, 1], probabilities=probabilities)
    torch.testing.assert_close(found[0].round(), torch.tensor([-5.0, 5.0, 5.0]))
    torch.testing.assert_close(found[1], torch.ones(3), atol=0.02, rtol=0)
