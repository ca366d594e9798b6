"""Random numbers that belong to images and samples: the right distributions, independent, and always the same."""

import functools
import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from examples import PAIRS, LinearGaussian, Pair
from goodness_of_fit import FAILURE_RATE, assert_counts_fit
from torch import nn

from pyro_vae import annealed_log_marginal, log_marginal
from pyro_vae.compiled.recorded import Recorded
from pyro_vae.evidence.counter_random import CounterRandom, data_keys, seed_of
from pyro_vae.evidence.philox import philox, philox_by_numpy
from pyro_vae.pairs.modules import modules_of

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")


def keyed(num_images, num_samples, *, first=0, stream=0, seed=0):
    numbers = (torch.tensor(number, dtype=torch.int64) for number in (first, stream))
    first, stream = numbers
    return CounterRandom(data_keys(torch.arange(float(num_images)), seed), first, num_samples, stream)


# The generator


def word(text):
    return torch.tensor([int(part, 16) for part in text.split()])


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # Random123's known-answer tests of philox4x32-10
        ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff " * 4, "ffffffff " * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_its_published_numbers(counter, key, expected):
    found = philox(tuple(word(counter).unbind()), tuple(word(key).unbind()))
    assert torch.equal(torch.stack(found), word(expected))


def test_numpy_and_torch_give_the_same_words(monkeypatch):
    """Whatever is taken together; of a graph the operations are torch's, see below."""
    keys = data_keys(torch.arange(5.0), 3)
    counter = 7 + torch.arange(6), (torch.arange(3), torch.tensor(2), torch.tensor(2**31 + 9))
    expected = philox((counter[0][:, None, None], *counter[1]), tuple(keys.T[..., None]))
    expected = torch.stack(torch.broadcast_tensors(*expected), -1)
    for together in (1, 30, 2**14):
        monkeypatch.setattr("pyro_vae.evidence.philox.TOGETHER", together)
        assert torch.equal(philox_by_numpy(*counter, keys), expected)


def test_a_gamma_variable_takes_as_many_numbers_whether_its_trials_are_read_or_not(monkeypatch):
    def draws():
        with keyed(3, 6):
            return dist.Gamma(torch.full((6, 3), 0.7), 1.0).sample(), torch.rand(6, 3)

    shorter = draws()
    monkeypatch.setattr("pyro_vae.evidence.counter_random.is_recording", lambda: True)
    assert all(map(torch.equal, draws(), shorter))


def test_keys_depend_on_content_seed_and_how_often_it_came_before():
    x = torch.randn(50, 3, 2)
    keys = data_keys(x, 0)
    assert keys.shape == (50, 2)
    assert ((keys >= 0) & (keys < 2**32)).all()
    order = torch.randperm(50)
    assert torch.equal(data_keys(x[order], 0), keys[order])
    assert torch.equal(data_keys(x[:7], 0), keys[:7])
    others = [data_keys(x, 1), data_keys(x, -1), data_keys(x, 2**63 + 1), data_keys(x.double(), 0)]
    others.append(data_keys(x[:1].expand(50, 3, 2), 0))
    everything = torch.cat([keys, *others]).tolist()
    assert len({tuple(key) for key in everything}) == 50 * 6 - 1  # the first of the equal ones is x[0] itself
    for dtype in (torch.bool, torch.uint8, torch.bfloat16, torch.int64):
        assert len({tuple(key) for key in data_keys(torch.arange(2).to(dtype), 0).tolist()}) == 2


# Distributions

K, B = 4000, 5


CONTINUOUS = {
    "rand": (lambda like: torch.rand(like.shape, dtype=like.dtype), scipy.stats.uniform()),
    "rand of numbers": (lambda like: torch.rand(*like.shape, dtype=like.dtype), scipy.stats.uniform()),
    "rand_like": (torch.rand_like, scipy.stats.uniform()),
    "randn": (lambda like: torch.randn(list(like.shape), dtype=like.dtype), scipy.stats.norm()),
    "randn by name": (lambda like: torch.randn(size=like.shape, dtype=like.dtype), scipy.stats.norm()),
    "randn_like": (torch.randn_like, scipy.stats.norm()),
    "normal": (lambda like: torch.normal(like - 1, 2 + 0 * like), scipy.stats.norm(-1, 2)),
    "normal, one mean": (lambda like: torch.normal(3.0, 2 + 0 * like), scipy.stats.norm(3, 2)),
    "normal, one scale": (lambda like: torch.normal(like, 2.0), scipy.stats.norm(0, 2)),
    "normal of a size": (lambda like: torch.normal(1.0, 0.5, like.shape, dtype=like.dtype), scipy.stats.norm(1, 0.5)),
    "uniform_": (lambda like: like.clone().uniform_(), scipy.stats.uniform()),
    "uniform_ from to": (lambda like: like.clone().uniform_(-2, 3), scipy.stats.uniform(-2, 5)),
    "exponential_": (lambda like: like.clone().exponential_(2.0), scipy.stats.expon(scale=0.5)),
    "normal_": (lambda like: like.clone().normal_(mean=2.0, std=3.0), scipy.stats.norm(2, 3)),
    "cauchy_": (lambda like: like.clone().cauchy_(1.0, sigma=2.0), scipy.stats.cauchy(1, 2)),
    **{
        f"gamma {c}": (lambda like, c=c: torch._standard_gamma(like + c), scipy.stats.gamma(c))
        for c in (0.1, 0.9, 1.0, 3.7, 5000.0)
    },
    "Gamma": (lambda like: dist.Gamma(2.5 + like, 3.0).sample(), scipy.stats.gamma(2.5, scale=1 / 3)),
    **{
        f"Beta {a} {b}": (
            lambda like, a=a, b=b: dist.Beta(like + a, like + b).sample(),
            scipy.stats.beta(a, b),
        )
        for a, b in ((0.7, 0.9), (2.0, 5.0))
    },
    "StudentT": (lambda like: dist.StudentT(3.0 + like).rsample(), scipy.stats.t(3)),
    "Laplace": (lambda like: dist.Laplace(like, 1.0).sample(), scipy.stats.laplace()),
    "Gumbel": (lambda like: dist.Gumbel(like, 1.0).sample(), scipy.stats.gumbel_r()),
    "Weibull": (lambda like: dist.Weibull(1 + like, 1.5).sample(), scipy.stats.weibull_min(1.5)),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", CONTINUOUS)
def test_draws_are_of_their_distribution(name, dtype):
    draw, truth = CONTINUOUS[name]
    state = torch.get_rng_state()
    with keyed(B, K):
        draws = draw(torch.zeros(K, B, dtype=dtype))
    assert torch.equal(torch.get_rng_state(), state)
    assert (draws.shape, draws.dtype) == ((K, B), dtype)
    assert scipy.stats.kstest(draws.double().flatten().numpy(), truth.cdf).pvalue > FAILURE_RATE


@pytest.mark.parametrize("concentration", [0.01, 0.5, 4.0])
def test_dirichlet_components_are_beta(concentration):
    """Also where all gamma variables behind a draw are too small for a float."""
    with keyed(B, K):
        draws = dist.Dirichlet(torch.full((K, B, 3), concentration)).sample()
    assert ((draws > 0) & (draws < 1)).all()
    torch.testing.assert_close(draws.sum(-1), torch.ones(K, B))
    edges = torch.linspace(0, 1, 11).double()
    probs = torch.tensor(scipy.stats.beta(concentration, 2 * concentration).cdf(edges.numpy())).diff()
    for component in draws.unbind(-1):
        assert_counts_fit(torch.histc(component, 10, 0, 1).double(), probs)


def test_small_concentrations_do_not_meet_in_the_middle():
    """Half of the mass of Beta(0.02, 0.02) is at either end: nearly none lies between."""
    with keyed(B, K):
        draws = dist.Beta(torch.full((K, B), 0.02), 0.02).sample()
    edges = torch.tensor([0, 1e-6, 0.1, 0.4, 0.6, 0.9, 1.0]).double()
    counts = torch.histogram(draws.double().flatten(), edges).hist
    assert_counts_fit(counts, torch.tensor(scipy.stats.beta(0.02, 0.02).cdf(edges.numpy())).diff())


PROBS = torch.tensor([0.05, 0.5, 0.25, 0.2])
DISCRETE = {
    "bernoulli": (lambda: torch.bernoulli(torch.full((K, B), 0.3)), [0.7, 0.3]),
    "bernoulli, one probability": (lambda: torch.bernoulli(torch.zeros(K, B), 0.3), [0.7, 0.3]),
    "Bernoulli": (lambda: dist.Bernoulli(logits=torch.zeros(K, B)).sample(), [0.5, 0.5]),
    "multinomial": (lambda: torch.multinomial(PROBS.expand(K * B, 4), 1).view(K, B), PROBS),
    "multinomial, not normalized": (lambda: (7 * PROBS).expand(K * B, 4).multinomial(1, True).view(K, B), PROBS),
    "Categorical": (lambda: dist.Categorical(PROBS.expand(K, B, 4)).sample(), PROBS),
    "OneHotCategorical": (lambda: dist.OneHotCategorical(PROBS.expand(K, B, 4)).sample().argmax(-1), PROBS),
    "never the last": (lambda: dist.Categorical(torch.tensor([0.4, 0.6, 0.0]).expand(K, B, 3)).sample(), [0.4, 0.6]),
}


@pytest.mark.parametrize("name", DISCRETE)
def test_counts_are_of_their_distribution(name):
    draw, probs = DISCRETE[name]
    state = torch.get_rng_state()
    with keyed(B, K):
        draws = draw()
    assert torch.equal(torch.get_rng_state(), state)
    counts = torch.bincount(draws.long().flatten(), minlength=len(probs)).double()
    assert_counts_fit(counts, torch.as_tensor(probs).double())


def test_normal_numbers_are_independent():
    """Over numbers, samples, images, calls, streams, seeds: no correlation, of the numbers or of their squares."""

    def draw(**settings):
        with keyed(B, K, **settings):
            return [torch.randn(K, B, 4), torch.randn(K, B, 4)]

    (one, call), (stream, _), (seed, _) = draw(), draw(stream=1), draw(seed=1)
    pairs = [(one, other) for other in (call, stream, seed, one.roll(1, 0), one.roll(1, 1), one.roll(1, 2))]
    pairs.append((one, one.roll(2, 2)))  # the two of one Box-Muller pair stand two apart
    for (a, b), change in itertools.product(pairs, (lambda v: v, lambda v: v.square() - 1)):
        product = (change(a) * change(b)).double()
        assert abs(product.mean()) < 5 * product.std() / math.sqrt(product.numel())
        assert not (a == b).any()


def test_samples_are_those_of_their_numbers():
    """Drawn from number 5 on, or as rows (K B, ...): the same numbers; torch's own where the shape says nothing."""
    with keyed(3, 20):
        whole = torch.rand(20, 3, 7)
    with keyed(3, 6, first=5):
        part, rows = torch.rand(6, 3, 7), torch.rand(18, 7)
    assert torch.equal(part, whole[5:11])
    assert not torch.equal(rows.view(6, 3, 7), part)  # a second call
    with keyed(3, 6, first=5):
        assert torch.equal(torch.rand(18, 7).view(6, 3, 7), part)
    torch.manual_seed(0)
    with keyed(3, 6):
        other = torch.rand(5, 7), torch.rand((), generator=None), torch.randperm(4)
    torch.manual_seed(0)
    assert all(map(torch.equal, other, (torch.rand(5, 7), torch.rand(()), torch.randperm(4))))


def test_a_generator_of_the_users_own_is_used():
    with keyed(3, 6):
        a, b = (torch.rand(6, 3, generator=torch.Generator().manual_seed(s)) for s in (1, 1))
    assert torch.equal(a, b)


# Estimates


def of_latent(prior, posterior, *, location=lambda z: z):
    """A pair with one latent of that kind, which need not fit well: x ~ Normal(location(z), 1)."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", prior())
            pyro.sample("x", dist.Normal(location(z), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", posterior(x))

    return Pair(model, guide, torch.randn(24))


class DrawingItself(nn.Module):
    """A guide around a centre that it draws itself, with a shape of its own."""

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.sum(-1), 1.0), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.3 * torch.randn(len(x), 2), 1.0).to_event(1))


class InPlate(nn.Module):
    """Six latents of an image in a plate of their own: a draw of (6, 6) looks like one for 3 images and 2 samples."""

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1), pyro.plate("inner", 6, dim=-2):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x.expand(6, len(x)))

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1), pyro.plate("inner", 6, dim=-2):
            pyro.sample("z", dist.Normal(x / 3, 1.0))


ones = torch.ones
LATENTS = {
    "Normal": lambda: of_latent(lambda: dist.Normal(0.0, 1.0), lambda x: dist.Normal(x / 3, 1.0)),
    "Gamma": lambda: of_latent(lambda: dist.Gamma(2.0, 1.0), lambda x: dist.Gamma(1.5 + x.abs(), 1.0)),
    "small Gamma": lambda: of_latent(lambda: dist.Gamma(0.5, 1.0), lambda x: dist.Gamma(0.3 + 0 * x, 1.0)),
    "Beta": lambda: of_latent(lambda: dist.Beta(2.0, 1.0), lambda x: dist.Beta(0.8 + x.abs(), 1.0)),
    "Dirichlet": lambda: of_latent(
        lambda: dist.Dirichlet(ones(3)),
        lambda x: dist.Dirichlet(0.8 + 0 * x[:, None] + ones(3)),
        location=lambda z: z[..., 0],
    ),
    "StudentT": lambda: of_latent(lambda: dist.StudentT(4.0), lambda x: dist.StudentT(3.0, x / 3)),
    "Categorical": lambda: of_latent(
        lambda: dist.Categorical(ones(3)), lambda x: dist.Categorical(x[:, None].abs() + ones(3))
    ),
    "Bernoulli": lambda: of_latent(lambda: dist.Bernoulli(0.5), lambda x: dist.Bernoulli(logits=x)),
    "Poisson": lambda: of_latent(lambda: dist.Poisson(2.0), lambda x: dist.Poisson(1 + x.abs())),
    "VonMises": lambda: of_latent(lambda: dist.VonMises(torch.tensor(0.0), 1.0), lambda x: dist.VonMises(x / 3, 1.0)),
    "mixture": lambda: of_latent(
        lambda: dist.Normal(0.0, 1.0),
        lambda x: dist.MixtureSameFamily(dist.Categorical(ones(len(x), 2)), dist.Normal(torch.stack([x, -x], -1), 1.0)),
    ),
    "torch.randn": lambda: Pair(DrawingItself().model, DrawingItself().guide, torch.randn(24)),
    "inner plate of six": lambda: Pair(InPlate().model, InPlate().guide, torch.randn(24)),
}
ANY = {**PAIRS, **{f"latent {name}": make for name, make in LATENTS.items()}}


def assert_close(first, second):
    for name in ("log_prob", "standard_error", "ess"):
        torch.testing.assert_close(getattr(first, name), getattr(second, name), rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize("name", ANY)
def test_the_same_seed_gives_the_same_numbers_whatever_the_chunks_and_the_order(name):
    pair = ANY[name]()
    with pyro.get_param_store().scope():
        pair.guide(pair.x), pair.model(pair.x)
        x = pair.x.unique(dim=0)[:6]  # equal images would change places
        state = torch.get_rng_state()
        estimate = functools.partial(log_marginal, pair.model, pair.guide, num_samples=12, estimator="guide")
        whole = estimate(x)
        for settings in ({"chunk_size": 5}, {"memory_budget": "100kB"}):
            assert_close(estimate(x, **settings), whole)
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
        assert_close(estimate(x[order], chunk_size=50), whole[order])
        some = []
        part = estimate(x, only=[3, 1], chunk_size=1, on_result=lambda images, _: some.extend(images))
        assert_close(part, whole[[3, 1]])
        assert some == [3, 1]
        assert torch.equal(torch.get_rng_state(), state)
        assert not torch.equal(estimate(x, seed=1).log_prob, whole.log_prob)


@pytest.mark.parametrize("name", ["Poisson", "VonMises", "inner plate of six"])
def test_pairs_that_cannot_be_told_apart_by_image_have_their_log_p(name):
    pair = LATENTS[name]()
    x = pair.x[:4]
    result = log_marginal(pair.model, pair.guide, x, num_samples=4000, estimator="guide")
    if name == "Poisson":
        z = torch.arange(60.0).double()
        truth = (dist.Poisson(2.0).log_prob(z.float()).double() + dist.Normal(z, 1.0).log_prob(x[:, None])).logsumexp(1)
    elif name == "VonMises":
        z = torch.linspace(-math.pi, math.pi, 2001)[:-1].double()
        prior = dist.VonMises(torch.tensor(0.0).double(), 1.0).log_prob(z)
        truth = (prior + dist.Normal(z, 1.0).log_prob(x[:, None])).logsumexp(1) + math.log(2 * math.pi / 2000)
    else:
        truth = 6 * dist.Normal(0.0, 2**0.5).log_prob(x).double()
    assert ((result.log_prob - truth) / result.standard_error).abs().max() < 5
    assert result.standard_error.max() < 0.2


def test_equal_images_in_one_call_have_draws_of_their_own():
    linear = LinearGaussian()
    x = linear.bias.detach().expand(400, 5)
    result = log_marginal(linear.model, linear.mediocre_guide, x, num_samples=20, estimator="guide")
    assert len(result.log_prob.unique()) == 400
    error = (result.log_prob - linear.log_prob(x)) / result.standard_error
    neighbours = error[1:] * error[:-1]
    assert abs(neighbours.mean()) < 5 * neighbours.std() / math.sqrt(399)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("VAE, GaussianMixture", "prior"),
        ("two levels", "guide"),
        ("two levels", "prior"),
        ("inner plate", "guide"),
        ("latent Gamma", "guide"),
        ("latent VonMises", "prior"),
    ],
)
def test_annealed_chains_belong_to_images_too(name, start, monkeypatch):
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.FIRST_TRANSITIONS", 3)
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.LEAST_TRANSITIONS", 3)
    pair = ANY[name]()
    x = pair.x.unique(dim=0)[:4]
    settings = {"num_chains": 3, "num_temperatures": 4, "num_leapfrog": 2, "num_warmup_chains": 2, "start": start}
    estimate = functools.partial(annealed_log_marginal, pair.model, pair.guide, **settings)
    state = torch.get_rng_state()
    whole = estimate(x)
    order = torch.tensor([3, 1, 0, 2])
    for other, images in (
        (estimate(x, chunk_size=1), slice(None)),
        (estimate(x, chunk_size=8), slice(None)),
        (estimate(x[order], chunk_size=5), order),
        (estimate(x, only=[3, 1]), [3, 1]),
    ):
        expected = whole[images]
        assert_close(other, expected)
        for detail, values in expected.details.items():
            torch.testing.assert_close(other.details[detail], values, rtol=1e-3, atol=1e-3)
    assert torch.equal(torch.get_rng_state(), state)


# Compiled


@pytest.mark.parametrize("name", ["VAE, StandardNormal", "latent Beta", "latent Categorical"])
def test_a_recorded_graph_draws_the_same_numbers(name, monkeypatch):
    """Operation by operation: what is recorded is not where the first sample stood, nor its images."""
    monkeypatch.setattr(
        "pyro_vae.evidence.counter_random.GAMMA_TRIALS", 1
    )  # wrong in the same way in both, and recorded soon
    made = []

    def recorded(function, *, pair, **_):
        made.append(Recorded(function, modules_of(*pair).values(), backend="eager"))
        return made[-1]

    pair = ANY[name]()
    settings = {"num_samples": 40, "chunk_size": 40}
    plain = log_marginal(pair.model, pair.guide, pair.x, **settings, estimator="guide")
    monkeypatch.setattr("pyro_vae.evidence.sampler.compile_if_worthwhile", recorded)
    assert_close(log_marginal(pair.model, pair.guide, pair.x, **settings, estimator="guide"), plain)
    assert made[0].num_graphs == 1


SEEDS = [6520558355739401531, 8265141577624745311, 8781586776974966661]


def test_seeds_of_draws_one_by_one_are_the_same_in_every_process():
    """A digest, not Python's hash, which promises nothing from one release to the next."""
    assert [seed_of([1, 2], 3), seed_of([1, 2], 4), seed_of([2, 1], 3)] == SEEDS
    assert len({seed_of([i, 7], j, k) for i in range(10) for j in range(10) for k in range(10)}) == 1000
    assert all(0 <= seed < 2**63 for seed in SEEDS)
