"""What is compressed comes back, at the cost of the negative ELBO; what is damaged or foreign is refused."""

import math
import os
import subprocess
import sys

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import pyro_vae
from pyro_vae import MLP, VAE, GaussianEncoder, StandardNormal, compress, decompress
from pyro_vae.compression.container import LOSSLESS, unpack
from pyro_vae.pairs.contexts import unvalidated


def small(likelihood=None, prior=None, encoder=None, shape=(2, 3), dim=3):
    likelihood = likelihood or pyro_vae.Bernoulli(shape)
    encoder = encoder or GaussianEncoder(shape, dim)
    return VAE(prior or StandardNormal(dim), encoder, MLP(dim, likelihood.feature_shape), likelihood)


def same(vae, x):
    file = compress(vae.model, vae.guide, x)
    found = decompress(vae.model, vae.guide, file)
    assert found.dtype == x.dtype
    assert found.shape == x.shape
    assert found.numpy().tobytes() == x.numpy().tobytes()
    return file


GREY = torch.arange(60).reshape(10, 2, 3) % 17
COLOUR = (torch.arange(480).reshape(10, 3, 4, 4) * 7 % 256).to(torch.uint8)
LIKELIHOODS = {
    "DiscretizedLogistic": lambda: pyro_vae.DiscretizedLogistic((2, 3), levels=17),
    "DiscretizedGaussian": lambda: pyro_vae.DiscretizedGaussian((2, 3), levels=17),
    "DiscretizedLogisticMixture": lambda: pyro_vae.DiscretizedLogisticMixture((2, 3), levels=17),
    "Categorical": lambda: pyro_vae.Categorical((2, 3), levels=17),
    "Binomial": lambda: pyro_vae.Binomial((2, 3), total_count=16),
}


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_likelihoods_in_all_forms_of_the_data(name):
    vae = small(LIKELIHOODS[name]())
    for x in (GREY, GREY.to(torch.uint8), GREY / 16, GREY.double() / 16):
        same(vae, x)


def test_counts_of_a_binomial_come_back():
    same(small(pyro_vae.Binomial((2, 3), total_count=16, data="counts")), GREY.float())
    unequal = VAE(StandardNormal(3), GaussianEncoder((3,), 3), MLP(3, (3,)), UnequalCounts())
    with pytest.raises(ValueError, match="Binomial of one total_count"):
        compress(unequal.model, unequal.guide, torch.zeros(2, 3))


class UnequalCounts(pyro_vae.Likelihood):
    """Counts of 2, 3 and 4 throws."""

    def __init__(self):
        super().__init__((3,))

    def forward(self, features):
        return dist.Binomial(torch.tensor([2.0, 3.0, 4.0]), logits=features).to_event(1)


def test_tables_are_the_probabilities_of_the_likelihood():
    """Those of each level add up to one, and are those of log_prob."""
    from pyro_vae.compression.pixels import pixels_of

    h = torch.randn(51, 1, 2, 3)
    for name, make in LIKELIHOODS.items():
        likelihood = make()
        features = h[: math.prod(likelihood.feature_shape) // 6].movedim(0, 1).reshape(1, *likelihood.feature_shape)
        px = likelihood(features)
        pixels = pixels_of("x", px, 1)
        weights = pixels.weights(pixels.parameters[0])
        found = weights / weights.sum(-1, keepdims=True)
        levels = torch.arange(17.0).reshape(17, 1, 1, 1).expand(17, 1, 2, 3) / 16
        truth = px.base_dist.log_prob(levels).exp().reshape(17, 6).T.detach().numpy()
        np.testing.assert_allclose(found, truth, atol=3e-6, err_msg=name)
        np.testing.assert_allclose(pixels.mean()[0], (truth * np.arange(17) / 16).sum(-1), atol=1e-4)


PRIORS = {
    "Laplace": lambda encoder: pyro_vae.LaplacePrior(3),
    "GaussianMixture": lambda encoder: pyro_vae.GaussianMixture(3, num_components=4),
    "one component": lambda encoder: pyro_vae.GaussianMixture(3, num_components=1),
    "VampPrior": lambda encoder: pyro_vae.VampPrior(encoder, torch.rand(9, 2, 3), num_components=4),
    "DiagonalNormal": lambda encoder: pyro_vae.DiagonalNormal(3),
}


@pytest.mark.parametrize("name", PRIORS)
def test_priors(name):
    encoder = GaussianEncoder((2, 3), 3)
    same(small(prior=PRIORS[name](encoder), encoder=encoder), (torch.rand(40, 2, 3) < 0.5).float())


def test_a_mixture_as_guide_and_convolutions():
    shape = (3, 4, 4)
    encoder = pyro_vae.MixtureEncoder(shape, 2, network=pyro_vae.ConvEncoder)
    likelihood = pyro_vae.DiscretizedLogistic(shape)
    vae = VAE(StandardNormal(2), encoder, pyro_vae.ConvDecoder(2, likelihood.feature_shape), likelihood)
    same(vae, COLOUR)


class TwoLevels(nn.Module):
    def __init__(self):
        super().__init__()
        self.q1, self.q2, self.p1 = nn.Linear(6, 6), nn.Linear(3, 4), nn.Linear(2, 6)
        self.px = nn.Linear(3, 6)

    def normal(self, h, log_scale):
        loc, raw = h.chunk(2, -1)
        return dist.Normal(loc, (raw + log_scale).exp()).to_event(1)

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z2 = pyro.sample("z2", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            z1 = pyro.sample("z1", self.normal(self.p1(z2), 0))
            pyro.sample("x", dist.Bernoulli(logits=self.px(z1).reshape(-1, 2, 3)).to_event(2), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z1 = pyro.sample("z1", self.normal(self.q1(x.flatten(1)), -2))
            pyro.sample("z2", self.normal(self.q2(z1), -2))


@pytest.mark.parametrize("make", [TwoLevels, small])
def test_the_size_is_the_negative_elbo(make, scope):
    """Within 1%, what a file costs (a header, words to draw the first latents), and the error of one draw of z."""
    pair, x = make(), (torch.rand(1500, 2, 3) < 0.3).float()
    file = same(pair, x)
    losses = torch.tensor([pyro.infer.Trace_ELBO().loss(pair.model, pair.guide, x) for _ in range(8)]) / math.log(2)
    assert abs(8 * len(file) - 700 - losses.mean()) < 0.01 * losses.mean() + 5 * losses.std()


@settings(max_examples=12, deadline=None, derandomize=True)
@given(st.data())
def test_any_shape_and_any_values(data):
    shape = tuple(data.draw(st.lists(st.integers(1, 5), min_size=0, max_size=3)))
    count = data.draw(st.integers(1, 12))
    values = data.draw(st.lists(st.integers(0, 255), min_size=count, max_size=count))
    x = torch.tensor(values).reshape(-1, *[1] * len(shape)).expand(count, *shape).contiguous().to(torch.uint8)
    torch.manual_seed(0)
    event = shape or (1,)
    likelihood = pyro_vae.DiscretizedLogistic(event)
    vae = small(likelihood, shape=event, dim=2)
    file = compress(vae.model, vae.guide, x, event_shape=event)
    assert torch.equal(decompress(vae.model, vae.guide, file), x)


def test_latents_far_out():
    """An encoder whose codes lie up to thousands of prior scales from 0."""
    vae = small()
    with torch.no_grad():
        for p in vae.encoder.parameters():
            p.mul_(30)
    same(vae, (torch.rand(50, 2, 3) < 0.5).float())


def test_what_is_not_a_level_is_refused():
    vae = small()
    for x, text in [
        (torch.full((2, 2, 3), 0.5), "Expected whole numbers from 0 to 1, or these divided by 1 in float32"),
        (torch.full((2, 2, 3), float("nan")), "got other values"),
        (torch.full((2, 2, 3), -0.0), "got other values"),
        (torch.full((2, 2, 3), 2), "Expected whole numbers from 0 to 1"),
        (torch.zeros(0, 2, 3), "at least one data point"),
        (torch.zeros(2, 2, 3, dtype=torch.complex64), "one of the types"),
    ]:
        with pytest.raises(ValueError, match=text):
            compress(vae.model, vae.guide, x)
    with pytest.raises(ValueError, match="Colours stand first"):
        compress(vae.model, vae.guide, torch.zeros(5, 3, 2), event_shape=(2, 3))


def test_pairs_that_cannot_be_coded_are_refused():
    x = torch.zeros(3, 2, 3)
    for vae, text in [
        (small(prior=pyro_vae.CouplingFlow(3)), "latent site 'z'; got TransformedDistribution"),
        (small(pyro_vae.Gaussian((2, 3))), "finitely many levels"),
        (small(encoder=pyro_vae.FullRankEncoder((2, 3), 3)), "latent site 'z'"),
    ]:
        with pytest.raises(ValueError, match=text):
            compress(vae.model, vae.guide, x)
    pair = TwoLevels()
    for model, text in [(pair.guide, "observes x"), (small().model, "latent sites")]:
        with pytest.raises(ValueError, match=text):
            compress(model, pair.guide, x)
    with pytest.raises(ValueError, match="without a mask or a scale"):
        compress(pyro.poutine.scale(pair.model, 0.5), pair.guide, x)


@pytest.fixture(scope="module")
def compressed():
    torch.manual_seed(0)
    vae = small()
    x = (torch.rand(30, 2, 3) < 0.5).float()
    return vae, compress(vae.model, vae.guide, x)


def test_damaged_files_are_refused(compressed):
    """10,000 of them: bits turned, bytes changed, cut off, put in, swapped."""
    _, file = compressed
    rng = np.random.default_rng(0)
    for n in range(10_000):
        damaged = bytearray(file)
        place = int(rng.integers(len(file)))
        kind = n % 5
        if kind == 0:
            damaged[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            damaged[place] = (damaged[place] + int(rng.integers(1, 256))) % 256
        elif kind == 2:
            del damaged[place:]
        elif kind == 3:
            damaged.insert(place, int(rng.integers(256)))
        else:
            size = int(rng.integers(1, 20))
            damaged[place : place + size] = rng.bytes(size)
        if bytes(damaged) != file:
            with pytest.raises(ValueError, match=r"^Expected "):
                unpack(bytes(damaged), LOSSLESS)


@pytest.mark.parametrize("file", [b"", b"\x89PVZ", b"\x89PVZ\x02", b"\x89PNG\r\n\x1a\n" + bytes(100), bytes(64)])
def test_foreign_files_are_refused(compressed, file):
    vae, _ = compressed
    with pytest.raises(ValueError, match=r"^Expected "):
        decompress(vae.model, vae.guide, file)


def test_another_pair_is_refused(compressed):
    vae, file = compressed
    torch.manual_seed(1)
    for other in (small(), small(shape=(3, 3)), TwoLevels(), small(prior=pyro_vae.GaussianMixture(3))):
        with pytest.raises(ValueError, match="Expected the pair that the file was compressed with"):
            decompress(other.model, other.guide, file)
    before = vae.likelihood.bias.clone()
    vae.likelihood.bias[0, 0] += 1e-6
    with pytest.raises(ValueError, match="Expected the pair that the file was compressed with"):
        decompress(vae.model, vae.guide, file)
    vae.likelihood.bias.copy_(before)
    decompress(vae.model, vae.guide, file)


ELSEWHERE = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from test_lossless import small
from pyro_vae import decompress
torch.set_num_threads(2)
torch.manual_seed(0)
vae = small(shape=(20, 20), dim=30)
x = decompress(vae.model, vae.guide, sys.stdin.buffer.read())
sys.stdout.buffer.write(x.numpy().tobytes())
"""


def test_another_process_with_other_threads_and_a_compiled_pair_give_it_back():
    torch.manual_seed(0)
    vae = small(shape=(20, 20), dim=30)
    x = (torch.rand(70, 20, 20) < 0.5).to(torch.uint8)
    file = compress(vae.model, vae.guide, x)
    words = [sys.executable, "-c", ELSEWHERE, os.path.dirname(__file__)]
    done = subprocess.run(words, input=file, capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "2"})
    assert done.returncode == 0, done.stderr.decode()[-500:]
    assert done.stdout == x.numpy().tobytes()
    with unvalidated():  # torch.compile switches off validation
        vae.decoder.compile()
        vae.encoder.network.compile()
        assert compress(vae.model, vae.guide, x) == file
        assert torch.equal(decompress(vae.model, vae.guide, file), x)
