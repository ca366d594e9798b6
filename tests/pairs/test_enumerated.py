"""Discrete sites that are marked for enumeration: summed out exactly, everywhere, or refused."""

import itertools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import config_enumerate

from pyro_vae import (
    annealed_log_marginal,
    bidirectional,
    diagnose,
    encode,
    fit,
    inference_gaps,
    log_marginal,
    prior_where_inactive,
    reconstruct,
    refined,
    widened,
)
from pyro_vae.pairs.enumerated import SummedOut, summed_out
from pyro_vae.pairs.particles import broadcasts, in_particle_plate
from pyro_vae.pairs.scoring import score, score_traces, traces

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
PARALLEL = {"enumerate": "parallel"}
PROBS, LOCS = torch.tensor([0.2, 0.3, 0.5]), torch.tensor([-3.0, 0.0, 2.0])


def nothing(*batch):
    """The guide of a pair without other latents."""


def assert_exact(result, truth):
    assert result.log_prob == pytest.approx(truth.double(), abs=1e-5, rel=1e-5)
    assert (result.standard_error == 0).all()


def assert_within_standard_errors(result, truth):
    assert ((result.log_prob - truth).abs() < 5 * result.standard_error + 1e-5).all()
    assert (result.standard_error < 0.2).all()


# Pairs without other latents: log p(x) is a sum


def mixture(x):
    with pyro.plate("data", len(x), dim=-1):
        k = pyro.sample("k", dist.Categorical(PROBS), infer=PARALLEL)
        pyro.sample("x", dist.Normal(LOCS[k], 1.0), obs=x)


@pytest.mark.parametrize("count", [1, 5])
def test_a_mixture_is_its_closed_form(count):
    x = 2 * torch.randn(count)
    truth = dist.MixtureSameFamily(dist.Categorical(PROBS), dist.Normal(LOCS, 1.0)).log_prob(x)
    assert_exact(log_marginal(mixture, nothing, x, num_samples=3), truth)


INITIAL, STEP = PROBS.log(), torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.3, 0.3, 0.4]]).log()


def chain(x, lengths):
    with pyro.plate("data", len(x), dim=-1):
        h = None
        for t in pyro.markov(range(x.shape[1])):
            with poutine.mask(mask=t < lengths):
                logits = INITIAL if h is None else STEP[h]
                h = pyro.sample(f"h_{t}", dist.Categorical(logits=logits), infer=PARALLEL)
                pyro.sample(f"x_{t}", dist.Normal(LOCS[h], 1.0), obs=x[:, t])


def forward(x):
    """log p of one sequence, by the forward algorithm."""
    emitted = dist.Normal(LOCS, 1.0).log_prob(x[:, None])  # (T, 3)
    alpha = INITIAL + emitted[0]
    for now in emitted[1:]:
        alpha = (alpha[:, None] + STEP).logsumexp(0) + now
    return alpha.logsumexp(0)


@pytest.mark.parametrize("lengths", [[6, 6, 6, 6], [6, 3, 1, 4]])
def test_a_hidden_markov_model_is_the_forward_algorithm(lengths):
    x = 2 * torch.randn(4, 6)
    truth = torch.stack([forward(row[:length]) for row, length in zip(x, lengths, strict=True)])
    assert_exact(log_marginal(chain, nothing, (x, torch.tensor(lengths)), num_samples=2), truth)


def test_a_long_chain_costs_no_more_than_its_length():
    x = torch.randn(2, 30)
    truth = torch.stack([forward(row) for row in x])
    assert_exact(log_marginal(chain, nothing, (x, torch.tensor([30, 30])), num_samples=2), truth)


def test_several_sites_are_all_their_combinations():
    @config_enumerate
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            a = pyro.sample("a", dist.Bernoulli(0.3))
            b = pyro.sample("b", dist.Bernoulli(0.2 + 0.5 * a))
            c = pyro.sample("c", dist.Bernoulli(0.6))
            pyro.sample("x", dist.Normal(3 * a + b * c - 2 * c, 0.5), obs=x)

    x, terms = torch.randn(5), []
    for a, b, c in itertools.product((0.0, 1.0), repeat=3):
        prior = (0.3 if a else 0.7) * abs(1 - b - (0.2 + 0.5 * a)) * (0.6 if c else 0.4)
        terms.append(dist.Normal(3 * a + b * c - 2 * c, 0.5).log_prob(x) + math.log(prior))
    assert_exact(log_marginal(model, nothing, x, num_samples=2), torch.stack(terms).logsumexp(0))


def test_a_plate_inside_the_data_has_states_of_its_own():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(PROBS), infer=PARALLEL)
            with pyro.plate("words", x.shape[1], dim=-2):
                b = pyro.sample("b", dist.Bernoulli(torch.tensor([0.1, 0.5, 0.8])[k]), infer=PARALLEL)
                pyro.sample("x", dist.Normal(4 * b, 1.0), obs=x.T)

    x = 4 * torch.rand(5, 3)
    share = torch.tensor([0.1, 0.5, 0.8])[:, None, None]
    word = torch.logaddexp(
        share.log() + dist.Normal(4.0, 1.0).log_prob(x), (1 - share).log() + dist.Normal(0.0, 1.0).log_prob(x)
    )
    truth = (PROBS.log()[:, None] + word.sum(-1)).logsumexp(0)
    assert_exact(log_marginal(model, nothing, x, num_samples=2), truth)


def test_observations_that_rule_out_each_others_states():
    """Each factor alone would be 0 in float32 where the other is not."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Bernoulli(0.5), infer=PARALLEL)
            for i in range(2):
                pyro.sample(f"x_{i}", dist.Normal(40.0 * k, 1.0), obs=x[:, i])

    x = torch.tensor([[0.0, 40.0], [1.0, 40.0]])
    terms = [dist.Normal(loc, 1.0).log_prob(x).sum(1) for loc in (0.0, 40.0)]
    truth = torch.stack(terms).logsumexp(0) + math.log(0.5)
    assert_exact(log_marginal(model, nothing, x, num_samples=2), truth)


def test_labels_that_are_given_are_observed():
    def model(x, y):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(PROBS), obs=y, infer=PARALLEL)
            pyro.sample("x", dist.Normal(LOCS[k], 1.0), obs=x)

    x, y = torch.randn(3), torch.tensor([0, 2, 1])
    assert_exact(
        log_marginal(model, nothing, (x, y), num_samples=2), PROBS.log()[y] + dist.Normal(LOCS[y], 1.0).log_prob(x)
    )
    assert_exact(
        log_marginal(model, nothing, (x, None), num_samples=2),
        dist.MixtureSameFamily(dist.Categorical(PROBS), dist.Normal(LOCS, 1.0)).log_prob(x),
    )


def test_labels_that_some_have():
    """With `obs_mask`, which draws the label where it is not given, and does not pass marks of a single site on."""

    @config_enumerate
    def model(x, y, known):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(PROBS), obs=y, obs_mask=known)
            pyro.sample("x", dist.Normal(LOCS[k], 1.0), obs=x)

    x, y, known = torch.randn(4), torch.tensor([0, 2, 1, 1]), torch.tensor([True, False, True, False])
    given = PROBS.log()[y] + dist.Normal(LOCS[y], 1.0).log_prob(x)
    summed = dist.MixtureSameFamily(dist.Categorical(PROBS), dist.Normal(LOCS, 1.0)).log_prob(x)
    assert_exact(log_marginal(model, nothing, (x, y, known), num_samples=2), torch.where(known, given, summed))


# Beside continuous latents


def test_a_chain_of_states_and_continuous_latents():
    """A switching autoregression, against the sum over all paths, at the guide's draws."""
    gains = torch.tensor([-0.9, 0.3, 0.8])

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            h, z = None, torch.zeros(())
            for t in pyro.markov(range(3)):
                h = pyro.sample(f"h_{t}", dist.Categorical(logits=INITIAL if h is None else STEP[h]), infer=PARALLEL)
                z = pyro.sample(f"z_{t}", dist.Normal(LOCS[h] + gains[h] * z, 1.0))
                pyro.sample(f"x_{t}", dist.Normal(z, 0.5), obs=x[:, t])

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            for t in range(3):
                pyro.sample(f"z_{t}", dist.Normal(x[:, t], 0.6))

    x = torch.randn(4, 3)
    summed, _ = summed_out(model, guide, x)
    assert broadcasts(summed, guide, x[:3])
    model_trace, guide_trace = traces(summed, guide, x)
    z = torch.stack([guide_trace.nodes[f"z_{t}"]["value"] for t in range(3)])
    paths = []
    for path in itertools.product(range(3), repeat=3):
        term, last = INITIAL[path[0]] + sum(STEP[a, b] for a, b in itertools.pairwise(path)), torch.zeros(())
        for t, h in enumerate(path):
            term, last = term + dist.Normal(LOCS[h] + gains[h] * last, 1.0).log_prob(z[t]), z[t]
        paths.append(term)
    scores = score_traces(model_trace, guide_trace, shape=(4,))
    torch.testing.assert_close(scores.log_prior, torch.stack(paths).logsumexp(0))
    torch.testing.assert_close(scores.log_likelihood, dist.Normal(z, 0.5).log_prob(x.T).sum(0))


class Factors:
    """A mixture of linear-Gaussian models, k, z ~ N(m_k, 1), x ~ N(W_k z + b_k, s^2); one guide draws k, one none."""

    weights = torch.tensor([[1.0, -0.5], [0.3, 0.8], [-1.2, 0.4]])
    biases = torch.tensor([[-2.0, 0.0], [1.0, 1.0], [3.0, -1.0]])
    means = torch.tensor([0.5, -0.5, 0.0])
    scale = 0.7

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(PROBS), infer=PARALLEL)
            z = pyro.sample("z", dist.Normal(self.means[k], 1.0))
            loc = self.weights[k] * z[..., None] + self.biases[k]
            pyro.sample("x", dist.Normal(loc, self.scale).to_event(1), obs=x)

    def of_z(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.2 * x[:, 0], 1.3))

    def of_k_and_z(self, x):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(logits=x @ self.biases.T), infer=PARALLEL)
            gain = self.weights / (self.weights.square().sum(1, keepdim=True) + self.scale**2)
            loc = self.means[k] + (gain[k] * (x - self.biases[k] - self.weights[k] * self.means[k, None])).sum(-1)
            pyro.sample("z", dist.Normal(loc, 0.9))

    def truth(self):
        spread = self.weights[:, :, None] * self.weights[:, None] + self.scale**2 * torch.eye(2)
        locs = self.biases + self.weights * self.means[:, None]
        return dist.MixtureSameFamily(dist.Categorical(PROBS), dist.MultivariateNormal(locs, spread))


@pytest.fixture(params=["of_z", "of_k_and_z"])
def pair(request):
    factors = Factors()
    return factors.model, getattr(factors, request.param)


@pytest.fixture
def x():
    return Factors().truth().sample((6,))


@pytest.mark.parametrize("estimator", ["guide", "auto"])
def test_weights_have_the_mean_that_is_the_mixture(pair, x, estimator):
    result = log_marginal(*pair, x, estimator=estimator, num_samples=2000)
    assert_within_standard_errors(result, Factors().truth().log_prob(x))
    assert ("rung" in result.details) == (estimator == "auto")


@pytest.mark.usefixtures("short_warm_up")
@pytest.mark.parametrize("start", ["guide", "prior"])
def test_annealing_moves_what_is_not_summed(pair, x, start):
    settings = {"num_temperatures": 16, "num_chains": 512, "num_leapfrog": 2, "compile": False}
    result = annealed_log_marginal(*pair, x, start=start, **settings)
    assert_within_standard_errors(result, Factors().truth().log_prob(x))


def test_defensive_mixtures_and_chunks(pair, x):
    options = {"estimator": "guide", "num_samples": 600}
    result = log_marginal(*pair, x, defensive=0.2, **options)
    assert_within_standard_errors(result, Factors().truth().log_prob(x))
    options["num_samples"] = 40
    first, second = (log_marginal(*pair, x, chunk_size=size, **options) for size in (7, 4096))
    assert first.log_prob == pytest.approx(second.log_prob, abs=1e-4)


@pytest.mark.usefixtures("operation_by_operation")
def test_a_recorded_estimate_is_the_plain_one(pair, x):
    plain, recorded = (log_marginal(*pair, x, num_samples=128, estimator="guide", compile=c) for c in (False, True))
    assert recorded.log_prob == pytest.approx(plain.log_prob, abs=1e-4)


@pytest.mark.usefixtures("short_warm_up")
def test_bounds_lie_on_their_sides_of_the_truth(pair, x):
    found = diagnose(*pair, x, num_samples=20)
    truth = Factors().truth().log_prob(x).mean().item()
    assert found.elbo.value < truth + 5 * found.elbo.monte_carlo_error
    assert found.elbo.value == pytest.approx(-found.rate.value - found.distortion.value, abs=1e-4)
    gap = bidirectional(*pair, x, num_temperatures=8, num_chains=16, num_leapfrog=2, compile=False)
    assert -0.1 < gap.mean_gap.value < 0.3
    assert gap.x.shape == x.shape


def by_hand(factors, x, z, guide):
    """log p(x, z), log p(z) and log q(z|x) at z (K, B), state by state."""
    joint, prior, guided = [], [], []
    for k in range(3):
        p = PROBS[k].log() + dist.Normal(factors.means[k], 1.0).log_prob(z)
        loc = factors.weights[k] * z[..., None] + factors.biases[k]
        prior.append(p)
        joint.append(p + dist.Normal(loc, factors.scale).log_prob(x).sum(-1))
        fixed = poutine.condition(guide, data={"k": torch.full(x.shape[:1], k), "z": z})
        trace = poutine.trace(in_particle_plate(fixed, len(z))).get_trace(x)
        trace.compute_log_prob()
        guided.append(sum(trace.nodes[name]["log_prob"] for name in ("k", "z") if name in trace.nodes))
    return [torch.stack(terms).logsumexp(0) for terms in (joint, prior)], torch.stack(guided)


def test_densities_are_sums_over_the_states(pair, x):
    model, guide = summed_out(*pair, x)
    assert broadcasts(model, guide, x[:3])
    both = traces(in_particle_plate(model, 4), in_particle_plate(guide, 4), x)
    scores = score_traces(*both, shape=(4, 6))
    (joint, prior), guided = by_hand(Factors(), x, both[1].nodes["z"]["value"], pair[1])
    torch.testing.assert_close(scores.log_likelihood + scores.log_prior, joint)
    torch.testing.assert_close(scores.log_prior, prior)
    log_guide = guided.logsumexp(0) if isinstance(guide, SummedOut) else guided[0]
    torch.testing.assert_close(scores.log_guide, log_guide)
    assert both[0].nodes.keys() & both[1].nodes.keys() >= {"z"}
    assert "k" not in both[0].nodes | both[1].nodes


def test_scales_do_not_count_and_masks_do(x):
    factors = Factors()
    model, guide = summed_out(factors.model, factors.of_z, x)
    scaled, _ = summed_out(poutine.scale(factors.model, 3.0), factors.of_z, x)
    seen = x[:, 0] > x[:, 0].median()

    def under_mask(x):
        with poutine.mask(mask=x[:, 0] > x[:, 0].median() if len(x) == 6 else torch.tensor(True)):
            factors.model(x)

    masked, _ = summed_out(under_mask, factors.of_z, x)
    trace = poutine.trace(guide).get_trace(x)
    replayed = [score(poutine.replay(m, trace=trace), poutine.replay(guide, trace=trace), x) for m in (model, scaled)]
    torch.testing.assert_close(replayed[0].log_weight, replayed[1].log_weight)
    few = score_traces(poutine.trace(poutine.replay(masked, trace=trace)).get_trace(x), trace, shape=(6,))
    torch.testing.assert_close(few.log_likelihood[seen], replayed[0].log_likelihood[seen])
    torch.testing.assert_close(few.log_prior[~seen], torch.zeros(3))
    assert (few.log_likelihood[~seen] == 0).all()


def test_a_site_that_an_unmarked_guide_draws_is_drawn(x):
    """The guide says: what it draws without a mark is a latent like others."""
    factors = Factors()
    unmarked = poutine.infer_config(factors.of_k_and_z, lambda site: {"enumerate": None})
    assert summed_out(factors.model, unmarked, x) == (factors.model, unmarked)
    result = log_marginal(factors.model, unmarked, x, num_samples=3000)
    assert_within_standard_errors(result, factors.truth().log_prob(x))


def test_a_plate_inside_the_data_beside_a_latent():
    """It stands where particles would, so that data are repeated instead."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with pyro.plate("words", x.shape[1], dim=-2):
                k = pyro.sample("k", dist.Bernoulli(0.4), infer=PARALLEL)
                pyro.sample("x", dist.Normal(3 * k, 1.0 + z.square()), obs=x.T)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.1 * x[:, 0], 0.9))

    x = 3 * torch.rand(4, 2)
    summed, _ = summed_out(model, guide, x)
    assert not broadcasts(summed, guide, x[:3])
    z = torch.linspace(-8, 8, 4001)[:, None, None]
    parts = [dist.Normal(3.0 * k, 1 + z**2).log_prob(x) + math.log(0.4 if k else 0.6) for k in (0, 1)]
    joint = torch.logaddexp(*parts).sum(-1) + dist.Normal(0.0, 1.0).log_prob(z[..., 0])  # (4001, B)
    truth = (joint.logsumexp(0) + math.log(16 / 4000)).double()
    assert_within_standard_errors(log_marginal(model, guide, x, num_samples=2000), truth)


def test_what_is_encoded_and_decoded(x):
    factors = Factors()
    assert encode(factors.model, factors.of_z, x).keys() == {"z"}
    assert encode(factors.model, factors.of_k_and_z, x).keys() == {"k", "z"}
    assert reconstruct(factors.model, factors.of_k_and_z, x).shape == x.shape


def test_gaps_of_a_guide_without_summed_sites(x):
    factors, truth = Factors(), Factors().truth().log_prob(x)
    gaps = inference_gaps(factors.model, factors.of_z, x, truth, num_steps=30, num_samples=200)
    assert (gaps.elbo < truth + 5 * gaps.elbo_error).all()
    assert (gaps.amortization > -5 * gaps.amortization_error).all()
    with pytest.raises(ValueError, match=r"^Expected a guide that draws all its latents, .* got the enumerated sites"):
        inference_gaps(factors.model, factors.of_k_and_z, x, truth)


# What cannot be summed


def refused(model, guide, match, x=None):
    with pytest.raises(ValueError, match=match):
        log_marginal(model, guide, torch.randn(4) if x is None else x, num_samples=2)


@pytest.mark.parametrize(
    ("infer", "match"),
    [
        ({"enumerate": "sequential"}, r"^Expected infer={'enumerate': 'parallel'} at site 'k'; got 'sequential'"),
        ({"enumerate": "parallel", "num_samples": 5}, r"^Expected an exact sum over .* 'k'; got num_samples=5"),
    ],
)
def test_other_marks(infer, match):
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(PROBS), infer=infer)
            pyro.sample("x", dist.Normal(LOCS[k], 1.0), obs=x)

    refused(model, nothing, match)


@pytest.mark.parametrize(
    "prior",
    [dist.Normal(0.0, 1.0), dist.Poisson(3.0), dist.Bernoulli(0.5).expand([3]).to_event(1)],
    ids=["continuous", "infinite", "factorial"],
)
def test_sites_without_a_list_of_states(prior):
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", prior, infer=PARALLEL)
            pyro.sample("x", dist.Normal(k if not prior.event_dim else k.sum(-1), 1.0), obs=x)

    refused(model, nothing, r"^Expected a distribution with few states at the enumerated site 'k'; got ")


def test_a_mask_inside_the_distribution():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(PROBS).mask(x > 0), infer=PARALLEL)
            pyro.sample("x", dist.Normal(LOCS[k], 1.0), obs=x)

    refused(model, nothing, r"^Expected an enumerated site 'k' whose states .* Put poutine.mask around the site")


def test_a_state_that_all_data_share():
    def model(x):
        k = pyro.sample("k", dist.Categorical(PROBS), infer=PARALLEL)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(LOCS[k], 1.0), obs=x)

    refused(model, nothing, r"^Expected site 'k' inside the plate over the data")


def test_a_site_that_the_guide_alone_enumerates():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(PROBS), infer=PARALLEL)
            pyro.sample("z", dist.Normal(LOCS[k], 1.0))

    refused(model, guide, r"^Expected enumerated sites of the guide in the model, too; the guide alone has \['k'\]")


def branching(decide):
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(PROBS), infer=PARALLEL)
            pyro.sample("x", dist.Normal(decide(k, len(x)), 1.0), obs=x)

    return model


@pytest.mark.parametrize(
    ("decide", "match"),
    [
        (
            lambda k, _: 0.0 if k.max() - k.min() < 2 else 9.0,
            r"^Expected sites \['k'\] to be scored in all their states",
        ),
        (lambda k, _: LOCS[k] + k.float().mean(), r"^Expected sites \['k'\] to be scored in all their states at once"),
        (lambda k, n: LOCS[k].reshape(n), r"^Expected a pair that takes all states of sites \['k'\] at once"),
    ],
    ids=["branch", "mean", "shape"],
)
def test_code_that_takes_one_state_at_a_time(decide, match):
    refused(branching(decide), nothing, match, x=torch.randn(4))


def test_a_part_of_an_inner_plate():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Categorical(PROBS), infer=PARALLEL)
            with pyro.plate("words", x.shape[1], subsample_size=2, dim=-2) as some:
                pyro.sample("x", dist.Normal(LOCS[k], 1.0), obs=x.T[some])

    refused(model, nothing, r"^Expected all of the plates around site 'x'", x=torch.randn(4, 5))


def test_guides_made_of_guides(x):
    factors = Factors()
    scores = {"estimator": "guide", "num_samples": 2000}
    result = log_marginal(factors.model, widened(factors.of_k_and_z, 1.1), x, **scores)
    assert_within_standard_errors(result, factors.truth().log_prob(x))
    with pytest.raises(ValueError, match=r"^Expected a pair whose latents are all drawn, .*; \['k'\] are marked"):
        log_marginal(factors.model, refined(factors.model, factors.of_z), x, num_samples=2)
    active = torch.tensor(True)
    with pytest.raises(ValueError, match=r"^Expected a single latent site; got 'k' and 'z'"):
        log_marginal(factors.model, prior_where_inactive(factors.model, factors.of_z, active), x, num_samples=2)


@pytest.mark.parametrize("infer", [PARALLEL, {}])
@pytest.mark.parametrize("use", [log_marginal, lambda *pair: fit(*pair, epochs=1, progress=False)])
def test_a_guide_that_draws_what_is_observed(use, infer):
    def model(x, y):
        with pyro.plate("data", len(x), dim=-1):
            k = pyro.sample("k", dist.Bernoulli(0.3), obs=y)
            pyro.sample("x", dist.Normal(pyro.param("slope", torch.tensor(1.0)) * k, 1.0), obs=x)

    def guide(x, y):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("k", dist.Bernoulli(0.5), infer=infer)

    match = r"^Expected the guide to leave out what the model observes; .* \['k'\]"
    with pyro.get_param_store().scope(), pytest.raises(ValueError, match=match):
        use(model, guide, (torch.randn(4), torch.ones(4)))


def test_where_nothing_is_left_to_draw():
    x = torch.randn(4)
    result = log_marginal(mixture, nothing, x, target_standard_error=0.1)
    assert result.estimator == "the sum over all states of its discrete latents"
    assert result.num_samples.tolist() == [2] * 4
    for use in (diagnose, annealed_log_marginal, encode, reconstruct):
        with pytest.raises(
            ValueError, match=r"^Expected (a model with a latent site; got none to move|latents that the guide draws)"
        ):
            use(mixture, nothing, x)
