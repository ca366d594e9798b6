"""log p(x_A | x_B) of any split of the observed sites, against closed forms; what cannot be split is refused."""

import functools

import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_vae import annealed_log_marginal, compare, log_marginal
from pyro_vae.evidence import LogMarginal

N = 8
W = torch.tensor([[1.0, 0.3], [0.5, -1.0], [-0.4, 0.8], [0.9, 0.2]])  # of x = (a, b) from z
SCALE = 0.8
COVARIANCE = W @ W.T + SCALE**2 * torch.eye(4)
A, B = slice(0, 1), slice(1, 4)


def blocks(a, b):
    """z ~ N(0, I), a and b | z ~ N(W z, s^2 I)."""
    with pyro.plate("data", len(a), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("a", dist.Normal(z @ W[A].T, SCALE).to_event(1), obs=a)
        pyro.sample("b", dist.Normal(z @ W[B].T, SCALE).to_event(1), obs=b)


def posterior(a, b, *, stretch=1.3):
    """The posterior given both, wider: also where one of them is asked about alone."""
    precision = torch.eye(2) + W.T @ W / SCALE**2
    covariance = torch.linalg.inv(precision)
    with pyro.plate("data", len(a), dim=-1):
        loc = torch.cat([a, b], -1) @ W / SCALE**2 @ covariance
        pyro.sample("z", dist.MultivariateNormal(loc, covariance * stretch**2))


def log_density(x, which):
    return dist.MultivariateNormal(torch.zeros(4)[which], COVARIANCE[which, which]).log_prob(x[:, which]).double()


@pytest.fixture
def x():
    return torch.randn(N, 4) @ torch.linalg.cholesky(COVARIANCE).T


@pytest.mark.parametrize("estimator", ["guide", "auto"])
@pytest.mark.parametrize(("given", "which", "sites"), [("b", B, ("a",)), ("a", A, ("b",))])
@pytest.mark.parametrize("form", [tuple, lambda pair: dict(zip("ab", pair, strict=True))])
def test_linear_gaussian_blocks(x, form, given, which, sites, estimator):
    inputs = form((x[:, A], x[:, B]))
    settings = {"defensive": 0.3 if estimator == "guide" else 0.0, "num_samples": 400, "compile": False}
    result = log_marginal(blocks, posterior, inputs, given=[given], estimator=estimator, **settings)
    truth = log_density(x, slice(0, 4)) - log_density(x, which)
    assert ((result.log_prob - truth).abs() < 5 * result.standard_error).all()
    assert ((*result.sites,), (*result.given,), result.bound) == (sites, (given,), "none")
    assert f"log p({sites[0]} | {given}): " in repr(result)
    assert "no bound" in repr(result)


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
@pytest.mark.parametrize("start", ["guide", "prior"])
def test_annealed_chains(x, start, monkeypatch):
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.FIRST_TRANSITIONS", 10)
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.LEAST_TRANSITIONS", 20)
    settings = {"num_chains": 32, "num_temperatures": 20, "start": start, "compile": False}
    result = annealed_log_marginal(blocks, posterior, (x[:, A], x[:, B]), given=["b"], only=[1, 0, 4], **settings)
    truth = (log_density(x, slice(0, 4)) - log_density(x, B))[[1, 0, 4]]
    assert ((result.log_prob - truth).abs() < 5 * result.standard_error).all()
    assert (result.standard_error < 0.5).all()
    assert ((*result.sites,), (*result.given,), result.bound) == (("a",), ("b",), "none")
    assert ((result.details["acceptance"] > 0.3) & (result.details["acceptance"] <= 1)).all()
    assert result.indices.tolist() == [1, 0, 4]
    with pytest.raises(ValueError, match="Expected given to be a list of some of the sites that the model observes"):
        annealed_log_marginal(blocks, posterior, (x[:, A], x[:, B]), given=["z"], **settings)


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")  # by chance, of so many results
def test_the_error_is_that_of_both_estimates(x):
    settings = {"num_samples": 200, "estimator": "guide", "given": ["b"], "defensive": 0.3, "compile": False}
    results = [log_marginal(blocks, posterior, (x[:, A], x[:, B]), seed=seed, **settings) for seed in range(8)]
    truth = log_density(x, slice(0, 4)) - log_density(x, B)
    errors = torch.cat([(result.log_prob - truth) / result.standard_error for result in results])
    assert abs(errors.square().mean().sqrt().log()) < 0.4  # of 64, known to 9%


def test_a_target_is_that_of_the_difference(x):
    result = log_marginal(
        blocks, posterior, (x[:, A], x[:, B]), given=["b"], estimator="guide", num_samples=50, target_standard_error=0.1
    )
    assert (result.standard_error < 0.15).all()


def test_some_data_points_and_files(x, tmp_path):
    told = []
    settings = {"given": ["b"], "num_samples": 50, "estimator": "guide"}
    every = log_marginal(blocks, posterior, (x[:, A], x[:, B]), **settings)
    some = log_marginal(
        blocks, posterior, (x[:, A], x[:, B]), only=[3, 1], on_result=lambda *result: told.append(result), **settings
    )
    assert torch.allclose(some.log_prob, every.log_prob[[3, 1]], atol=1e-5)
    assert [numbers for numbers, _ in told] == [[3, 1]]
    assert torch.allclose(some.details["log_joint"] - some.details["log_given"], some.log_prob)
    some.save(tmp_path / "result", {})
    loaded = LogMarginal.load(tmp_path / "result")
    assert (loaded.sites, loaded.given, loaded.bound) == ({"a": 1}, {"b": 3}, "none")


class Captioned(nn.Module):
    """Two modalities of one latent digit, a picture and its name, by networks: summed over for the truth."""

    def __init__(self):
        super().__init__()
        self.picture, self.word = nn.Linear(1, 5), nn.Linear(1, 3)

    def at(self, z):
        return (
            dist.Bernoulli(logits=self.picture(z[..., None])).to_event(1),
            dist.Categorical(logits=self.word(z[..., None])),
        )

    def model(self, picture, word):
        with pyro.plate("data", len(picture), dim=-1):
            picture_law, word_law = self.at(pyro.sample("z", dist.Normal(0.0, 1.0)))
            pyro.sample("picture", picture_law, obs=picture)
            pyro.sample("word", word_law, obs=word)

    def guide(self, picture, word):
        with pyro.plate("data", len(picture), dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(len(picture)), 1.5))

    def log_prob(self, picture, word, given):
        z = torch.linspace(-8, 8, 2001)
        log_z = dist.Normal(0.0, 1.0).log_prob(z) + (z[1] - z[0]).log()
        picture_law, word_law = self.at(z[:, None])
        terms = {"picture": picture_law.log_prob(picture), "word": word_law.log_prob(word)}
        joint = (log_z[:, None] + sum(terms.values())).logsumexp(0)
        return (joint - (log_z[:, None] + terms[given]).logsumexp(0)).detach()


@pytest.mark.parametrize("given", ["picture", "word"])
def test_two_modalities(given):
    pair = Captioned()
    inputs = {"picture": torch.rand(N, 5).round(), "word": torch.arange(N) % 3}
    result = log_marginal(pair.model, pair.guide, inputs, given=[given], num_samples=500)
    assert ((result.log_prob - pair.log_prob(**inputs, given=given)).abs() < 5 * result.standard_error).all()
    assert result.measure == "probability"


# What cannot be had


def chain(a, b, *, of="mean"):
    """b | a: what is left without a reads it."""
    with pyro.plate("data", len(a), dim=-1):
        z = pyro.sample("z", dist.Normal(a[:, 0] if of == "prior" else torch.zeros(len(a)), 1.0))
        pyro.sample("a", dist.Normal(z[..., None], 1.0).to_event(1), obs=a)
        loc = z[..., None].expand(*z.shape, 3) + (a if of == "mean" else 0)
        with pyro.poutine.mask(mask=a[:, 0] > 0) if of == "mask" else pyro.poutine.mask(mask=True):
            pyro.sample("b", dist.Normal(loc, 1.0).to_event(1), obs=b)


def of_chain(a, b):
    with pyro.plate("data", len(a), dim=-1):
        pyro.sample("z", dist.Normal(a[:, 0] / 2, 1.0))


@pytest.mark.parametrize(("of", "site"), [("mean", "b"), ("prior", "z"), ("mask", "b")])
@pytest.mark.parametrize("count", [1, N])
def test_what_reads_the_site_that_is_left_out(x, of, site, count):
    inputs = (x[:count, A], x[:count, B])
    with pytest.raises(ValueError, match=rf"the same distribution whatever \['a'\] is; got another at site '{site}'"):
        log_marginal(functools.partial(chain, of=of), of_chain, inputs, given=["b"], num_samples=10)


def test_the_other_way_round_is_right(x):
    """log p(b|a) of the same chain: p(a) is a part of it."""
    result = log_marginal(chain, of_chain, (x[:, A], x[:, B]), given=["a"], num_samples=500)
    w = torch.ones(4, 1)
    covariance = w @ w.T + torch.eye(4)
    moved = torch.cat([x[:, A], x[:, B] - x[:, A]], 1)
    joint = dist.MultivariateNormal(torch.zeros(4), covariance).log_prob(moved)
    truth = joint - dist.Normal(0.0, 2**0.5).log_prob(x[:, 0])
    assert ((result.log_prob - truth).abs() < 5 * result.standard_error).all()


@pytest.mark.parametrize("given", ["b", ["a", "b"], ["z"], ["b", "b"], ["b", "z"]])
def test_given_must_be_a_split(x, given):
    with pytest.raises(ValueError, match=r"Expected given to be a list of some of the sites that the model observes"):
        log_marginal(blocks, posterior, (x[:, A], x[:, B]), given=given)


def test_parts_of_one_input_are_refused(x):
    with pytest.raises(ValueError, match="Expected site 'a', which is not given, to observe an input of the model as"):
        log_marginal(lambda x: blocks(x[:, A], x[:, B]), lambda x: posterior(x[:, A], x[:, B]), x, given=["b"])


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
def test_every_result_names_its_sites(x):
    result = log_marginal(blocks, posterior, (x[:, A], x[:, B]), num_samples=5, estimator="guide")
    assert (result.sites, result.given) == ({"a": 1, "b": 3}, {})
    assert repr(result).startswith("LogMarginal(log p(a, b): mean ")


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
def test_results_about_other_values_are_not_compared(x):
    settings = {"num_samples": 5, "estimator": "guide"}
    both, part = (log_marginal(blocks, posterior, (x[:, A], x[:, B]), given=g, **settings) for g in ([], ["b"]))
    with pytest.raises(ValueError, match=r"got log p\(a, b\) of 4 values \(p\) and log p\(a \| b\) of 1 values \(q\)"):
        compare({"p": [both], "q": [part]})

    def at_once(a, b):
        with pyro.plate("data", len(a), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("ab", dist.Normal(z @ W.T, SCALE).to_event(1), obs=torch.cat([a, b], -1))

    same = log_marginal(at_once, posterior, (x[:, A], x[:, B]), **settings)
    assert same.quantity == "log p(ab)"  # of which both inputs are parts, though no site observes them as they are
    assert compare({"p": [both], "q": [same]}).differences["p", "q"].value == pytest.approx(0.0, abs=1e-5)


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
@pytest.mark.parametrize("given", [["a"], ["b"]])
def test_a_site_that_the_model_alone_sums_over(given):
    """k is 0 or 1, and a, b are two views of z ~ N(k, 1): all densities are sums of two Gaussians."""

    def model(a, b):
        with pyro.plate("data", len(a), dim=-1):
            k = pyro.sample("k", dist.Bernoulli(0.7), infer={"enumerate": "parallel"})
            z = pyro.sample("z", dist.Normal(k, 1.0))
            pyro.sample("a", dist.Normal(z, 1.0), obs=a)
            pyro.sample("b", dist.Normal(z + 2 * k, 0.5), obs=b)

    def guide(a, b):
        with pyro.plate("data", len(a), dim=-1):
            pyro.sample("z", dist.Normal((a + b) / 3, 1.3))

    a, b = torch.tensor([0.0, 1.0, -1.0]), torch.tensor([1.0, 0.5, -1.0])
    covariance = torch.tensor([[2.0, 1.0], [1.0, 1.25]])
    weights = torch.tensor([0.3, 0.7]).log()[:, None]
    loc = torch.tensor([[0.0, 0.0], [1.0, 3.0]])
    both = dist.MultivariateNormal(loc[:, None], covariance).log_prob(torch.stack([a, b], -1))
    seen = "ab".index(given[0])
    one = dist.Normal(loc[:, None, seen], covariance[seen, seen] ** 0.5).log_prob((a, b)[seen])
    truth = (weights + both).logsumexp(0) - (weights + one).logsumexp(0)
    result = log_marginal(model, guide, (a, b), given=given, num_samples=1000)
    assert ((result.log_prob - truth) / result.standard_error).abs().max() < 5
