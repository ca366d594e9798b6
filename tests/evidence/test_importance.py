"""log p(x) by importance sampling against closed forms, and the same for every pair."""

import dataclasses
import functools
import math
import sys

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import PAIRS, LinearGaussian, Own, Pyronic, patterns, vae
from goodness_of_fit import assert_within_standard_errors
from pyro import poutine
from pyro.infer import RenyiELBO
from torch import nn

from pyro_vae import annealed_log_marginal, log_marginal
from pyro_vae.evidence import LogMarginal, sampler
from pyro_vae.evidence.drawing import handful, particle_log_weights
from pyro_vae.evidence.weights import WeightSum
from pyro_vae.objectives.kl_weights import scale_latents
from pyro_vae.pairs.scoring import score

# Small guides and few samples make heavy tails; what is said of them is tested in test_tails.py.
pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")


@pytest.fixture
def x(linear):
    return linear.bias.detach() + 2 * torch.randn(23, 5)


# Closed forms


@pytest.mark.parametrize("num_samples", [1, 7])
def test_the_exact_posterior_gives_log_p_with_one_sample(linear, x, num_samples):
    result = log_marginal(linear.model, linear.guide, x, num_samples=num_samples, estimator="guide")
    torch.testing.assert_close(result.log_prob, linear.log_prob(x), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(result.ess, torch.full((23,), float(num_samples)).double(), rtol=1e-6, atol=0)
    if num_samples > 1:
        assert result.standard_error.max() < 1e-5


@pytest.mark.parametrize("name", ["linear Gaussian, exact guide", "first column"])
def test_exact_posteriors_among_the_pairs(name):
    pair = PAIRS[name]()
    result = log_marginal(pair.model, pair.guide, pair.x, num_samples=1, estimator="guide")
    torch.testing.assert_close(result.log_prob, pair.log_prob, rtol=1e-5, atol=1e-5)


def test_a_mediocre_guide_is_within_its_own_errors(linear, x):
    result = log_marginal(linear.model, linear.mediocre_guide, x, num_samples=5000, estimator="guide")
    deviations = (result.log_prob - linear.log_prob(x)) / result.standard_error
    assert deviations.abs().max() < 5
    assert result.standard_error.min() > 1e-4  # and the errors are not so wide that this says nothing
    assert result.standard_error.max() < 0.1
    truth = linear.log_prob(x).mean().item()
    assert abs(result.mean.value - truth) < 5 * result.mean.monte_carlo_error


def test_standard_errors_are_calibrated(linear):
    """Deviations in standard errors have mean 0 and variance 1, within 5 standard errors of these moments."""
    count = 600
    x = linear.bias.detach() + 2 * torch.randn(count, 5)
    result = log_marginal(linear.model, linear.mediocre_guide, x, num_samples=2000, estimator="guide")
    deviations = (result.log_prob - linear.log_prob(x)) / result.standard_error
    assert_within_standard_errors(deviations, 0.0)
    assert abs(deviations.var().item() - 1) < 5 * math.sqrt(2 / count)


def test_ess_is_the_ratio_it_should_be(linear, x):
    """For a Gaussian guide and posterior, E[w]^2 / E[w^2] is a closed form; here by quadrature over one latent."""
    linear = LinearGaussian(5, 1, width=1.6)
    result = log_marginal(linear.model, linear.mediocre_guide, x, num_samples=20_000, estimator="guide")
    with torch.no_grad():
        z = torch.linspace(-12, 12, 40_001).double()
        posterior, q = linear.posterior(x), linear.mediocre_posterior(x)
        p = dist.Normal(posterior.loc.double(), posterior.variance.sqrt().double())
        q = dist.Normal(q.base_dist.loc.double(), q.base_dist.scale.double())
        second = torch.exp(2 * p.log_prob(z) - q.log_prob(z)).sum(-1) * (z[1] - z[0])  # E_q[(p/q)^2]
    # p/q is bounded by 1.6, so that the relative error of a mean of squares over 20,000 draws is below 1.6^2 / 141.
    torch.testing.assert_close(result.ess / 20_000, 1 / second, rtol=5 * 1.6**2 / 141, atol=0)


def test_bounds_stand_in_their_order(linear):
    """E[ELBO] = E[IWAE-1] <= E[IWAE-k] <= log p(x), each within 5 standard errors."""
    x = (linear.bias.detach() + torch.randn(5)).expand(4000, 5)
    truth = linear.log_prob(x[:1]).item()
    draws = [
        log_marginal(linear.model, linear.mediocre_guide, x, num_samples=k, seed=k, estimator="guide").log_prob
        for k in (1, 2, 8, 64)
    ]
    assert_within_standard_errors(draws[0], linear.elbo(x[:1]).item())
    means = [d.mean().item() for d in draws]
    errors = [d.std().item() / math.sqrt(len(d)) for d in draws]
    for k in range(3):
        assert means[k] <= means[k + 1] + 5 * math.hypot(errors[k], errors[k + 1])
    assert means[-1] <= truth + 5 * errors[-1]
    assert means[0] < truth - 5 * errors[0]  # there is something to gain


def test_the_mean_is_pyros_own_iwae_bound(linear, x):
    k = 5
    elbo = RenyiELBO(alpha=0, num_particles=k, vectorize_particles=True, max_plate_nesting=1)
    theirs = torch.tensor([-elbo.loss(linear.model, linear.mediocre_guide, x) / len(x) for _ in range(400)])
    rows = x.repeat(400, 1)
    ours = (
        log_marginal(linear.model, linear.mediocre_guide, rows, num_samples=k, estimator="guide")
        .log_prob.view(400, -1)
        .mean(1)
    )
    difference = ours.mean().item() - theirs.mean().item()
    assert abs(difference) < 5 * math.hypot(ours.std().item(), theirs.std().item()) / math.sqrt(400)


# Chunks


class Counting(nn.Module):
    """A pair that counts how often the latent of each image is drawn; images are told apart by their first pixel."""

    def __init__(self, linear, num_images):
        super().__init__()
        self.linear, self.counts, self.largest = linear, torch.zeros(num_images).long(), 0

    def model(self, x):
        return self.linear.model(x[:, 1:])

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", self.linear.mediocre_posterior(x[:, 1:]))
        drawn = x[:, 0].long().expand(z.shape[:-1]).flatten()
        self.counts += torch.bincount(drawn, minlength=len(self.counts))
        self.largest = max(self.largest, len(drawn))


@pytest.mark.parametrize(("num_samples", "chunk_size"), [(1, 1), (3, 10), (64, 97), (101, 10), (101, 50)])
def test_exactly_as_many_samples_are_drawn_as_asked_for(linear, num_samples, chunk_size, monkeypatch):
    x = torch.cat([torch.arange(30.0)[:, None], torch.randn(30, 5)], 1)
    counting = Counting(linear, 30)
    monkeypatch.setattr(sampler, "in_parts_alike", lambda *_: True)
    result = log_marginal(
        counting.model, counting.guide, x, num_samples=num_samples, chunk_size=chunk_size, estimator="guide"
    )
    assert (result.num_samples == num_samples).all()
    tried = set(handful(x).tolist())  # on a handful the pair is tried
    counts = {n for i, n in enumerate(counting.counts.tolist()) if i not in tried}
    # All are drawn once to check the data, and two samples again where a look at the halves of a batch is due.
    assert counts <= {num_samples + 1, num_samples + 3}
    assert counting.largest <= max(chunk_size, 30)


def test_portions_in_which_weights_are_summed_up_do_not_change_the_result(linear, x, monkeypatch):
    def estimate():
        return log_marginal(
            linear.model, linear.mediocre_guide, x, num_samples=100, chunk_size=30, seed=0, estimator="guide"
        )

    whole = estimate()
    monkeypatch.setattr(sampler, "WEIGHTS_AT_ONCE", 70)  # the last portion is a smaller one
    parts = estimate()
    torch.testing.assert_close(parts.log_prob, whole.log_prob, rtol=1e-12, atol=0)
    torch.testing.assert_close(parts.log_levels, whole.log_levels, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("chunk_size", [1, 13, 40, 10_000])
def test_chunks_do_not_change_an_exact_result(linear, x, chunk_size):
    result = log_marginal(linear.model, linear.guide, x, num_samples=9, chunk_size=chunk_size, estimator="guide")
    torch.testing.assert_close(result.log_prob, linear.log_prob(x), rtol=1e-5, atol=1e-5)


def test_what_is_left_of_an_estimate_is_drawn_as_the_whole_would_be(linear, x, monkeypatch):
    """Also compiled where the whole is, and in the same chunks: else an evaluation that was stopped ends otherwise."""
    found = []

    def noted(draw, *, saves, **_):
        found.append(saves)
        return draw

    monkeypatch.setattr(sampler, "compile_if_worthwhile", noted)
    for only in (None, range(len(x) - 2, len(x))):
        log_marginal(linear.model, linear.mediocre_guide, x, num_samples=30, estimator="guide", only=only)
    assert found[0] == found[1] > 0


@pytest.mark.parametrize("estimator", ["guide", "annealed"])
def test_what_is_left_of_a_compiled_estimate_has_the_same_bits(estimator):
    """A graph is made by calls that run plainly, which round otherwise: in another process those are of other data."""
    pair = vae("StandardNormal")
    if estimator == "guide":
        estimate = functools.partial(log_marginal, num_samples=512, chunk_size=1024, estimator="guide")
    else:
        short = {"num_chains": 4, "num_temperatures": 4, "num_leapfrog": 1}
        estimate = functools.partial(annealed_log_marginal, **short, chunk_size=16)
    settings = pair.model, pair.guide, pair.x
    whole = estimate(*settings, compile=True)
    left = estimate(*settings, compile=True, only=range(12, 24))
    assert torch.equal(left.log_prob, whole.log_prob[12:])


def test_chunks_do_not_change_an_estimate(linear, x):
    few, many = (
        log_marginal(linear.model, linear.mediocre_guide, x, num_samples=2001, chunk_size=size, estimator="guide")
        for size in (500, 10**6)
    )
    torch.testing.assert_close(few.log_prob, many.log_prob, rtol=1e-6, atol=1e-6)  # the same draws
    torch.testing.assert_close(few.standard_error, many.standard_error, rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ["VAE, StandardNormal", "two levels", "raw convolution"])
def test_images_are_encoded_once_where_the_pair_broadcasts(name):
    pair, rows = PAIRS[name](), 0

    def guide(x):
        nonlocal rows
        rows += len(x)
        pair.guide(x)

    x = pair.x.repeat(10, *[1] * (pair.x.dim() - 1))
    log_marginal(pair.model, guide, x, num_samples=50, estimator="guide")
    # Besides the data themselves, a few are encoded to try the pair on, and all twice more, to see whether they depend
    # on those beside them.
    assert (rows < 10 * len(x)) == (name != "raw convolution")


# Streaming sums


def direct(log_weights):
    """The formulas as they stand, in float64, relative to the largest weight of each image."""
    count, largest = len(log_weights), log_weights.amax(0)
    w = (log_weights - largest).exp()
    log_prob = largest + w.mean(0).log()
    return log_prob, w.std(0) / w.mean(0) / math.sqrt(count), w.sum(0) ** 2 / w.square().sum(0)


def streamed(log_weights, sizes):
    total = WeightSum(log_weights.shape[1], len(log_weights))
    for part in log_weights.split(sizes):
        total.add(part)
    return total.result()


def huge(weights):
    weights[17] += 900.0
    return weights


def some_zero(weights):
    weights[::3] = -math.inf
    weights[:20, 1] = -math.inf  # a first part without any weight
    return weights


@pytest.mark.parametrize(
    "change", [lambda w: w, huge, some_zero, lambda w: w - 1e5, lambda w: w + 1e5, lambda w: 50 * w]
)
@pytest.mark.parametrize("sizes", [50, 1, 20, [3, 14, 33]])
def test_streaming_sums_are_the_direct_ones(change, sizes):
    weights = change(3 * torch.randn(50, 4).double())
    result, (log_prob, standard_error, ess) = streamed(weights, sizes), direct(weights)
    torch.testing.assert_close(result.log_prob, log_prob, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(result.standard_error, standard_error)
    torch.testing.assert_close(result.ess, ess)
    assert (result.num_samples == 50).all()


def test_weights_that_are_all_zero_give_minus_infinity_for_that_image_alone():
    weights = torch.randn(50, 3).double()
    weights[:, 1] = -math.inf
    result = streamed(weights, 20)
    assert result.log_prob[1] == -math.inf
    assert result.log_prob[[0, 2]].isfinite().all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_weight_that_is_no_number_shows_in_its_image_alone(bad):
    weights = torch.randn(50, 3).double()
    weights[30, 1] = bad
    result = streamed(weights, 20)
    assert not result.log_prob[1].isfinite()
    assert result.log_prob[[0, 2]].isfinite().all()


def test_one_sample_has_no_standard_error():
    result = streamed(torch.randn(1, 3).double(), 1)
    assert result.standard_error.isnan().all()
    assert torch.equal(result.ess, torch.ones(3).double())


# Any pair


@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_has_an_estimate_that_repeats(name):
    pair = PAIRS[name]()
    with pyro.get_param_store().scope():
        pair.guide(pair.x), pair.model(pair.x)
        state = torch.get_rng_state()
        result, again, other = (
            log_marginal(pair.model, pair.guide, pair.x, num_samples=50, seed=seed, estimator="guide")
            for seed in (1, 1, 2)
        )
        assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(result.log_prob, again.log_prob)
    assert not torch.equal(result.log_prob, other.log_prob)
    for values in (result.log_prob, result.standard_error, result.ess):
        assert (values.shape, values.dtype, values.requires_grad) == ((len(pair.x),), torch.float64, False)
        assert values.isfinite().all()
    assert (result.ess >= 1 - 1e-9).all()
    assert (result.ess <= 50 + 1e-9).all()


@pytest.mark.parametrize("name", PAIRS)
def test_particles_at_once_and_images_one_by_one_agree(name):
    """The fast path against the slow obvious way, copies of each image: the same mean log weight."""
    pair = PAIRS[name]()
    with pyro.get_param_store().scope(), torch.no_grad():
        pair.guide(pair.x), pair.model(pair.x)
        fast = particle_log_weights(pair.model, pair.guide, pair.x)(pair.x[:3], 1500)
        rows = pair.x[:3].repeat_interleave(1500, 0)
        slow = score(pair.model, pair.guide, rows).log_weight.view(3, 1500)
    for i in range(3):
        error = math.hypot(fast[:, i].std().item(), slow[i].std().item()) / math.sqrt(1500)
        assert abs(fast[:, i].mean().item() - slow[i].mean().item()) < 5 * error + 1e-5


def test_global_random_numbers_are_used_when_asked_for(linear, x):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    first = log_marginal(linear.model, linear.mediocre_guide, x, num_samples=2, seed=None, estimator="guide")
    assert not torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(3)
    again = log_marginal(linear.model, linear.mediocre_guide, x, num_samples=2, seed=None, estimator="guide")
    assert torch.equal(first.log_prob, again.log_prob)


@pytest.mark.parametrize(
    "handler", [lambda f: poutine.scale(f, scale=0.1), lambda f: scale_latents(f, 0.0), lambda f: scale_latents(f, 7.0)]
)
def test_weights_of_the_training_do_not_reach_an_estimate(linear, x, handler):
    plain = log_marginal(linear.model, linear.mediocre_guide, x, num_samples=20, estimator="guide")
    scaled = log_marginal(handler(linear.model), handler(linear.mediocre_guide), x, num_samples=20, estimator="guide")
    assert torch.equal(scaled.log_prob, plain.log_prob)


def test_dropout_is_off_while_estimating_and_on_again_afterwards():
    module = Own()
    x = patterns(5, (12,))
    plain = log_marginal(module.model, module.guide, x, num_samples=30, estimator="guide")
    module.decode.insert(1, nn.Dropout(0.5))
    module.encode.insert(1, nn.BatchNorm1d(16))
    module.encode[1].eval()
    kept = {name: buffer.clone() for name, buffer in module.named_buffers()}
    again = log_marginal(module.model, module.guide, x, num_samples=30, estimator="guide")
    torch.testing.assert_close(again.log_prob, plain.log_prob, rtol=1e-4, atol=1e-4)  # batch norm divides by 1 + 1e-5
    assert module.decode[1].training
    assert not module.encode[1].training
    assert all(torch.equal(buffer, kept[name]) for name, buffer in module.named_buffers())
    assert all(p.requires_grad and p.grad is None for p in module.parameters())


def test_another_models_parameters_in_the_store_are_not_used():
    first, second, x = Pyronic(), Pyronic(), patterns(5, (12,))
    first.width = torch.tensor(2.0)
    alone = log_marginal(second.model, second.guide, x, num_samples=5, estimator="guide")
    with pyro.get_param_store().scope():
        first.model(x), first.guide(x)
        before = dict(pyro.get_param_store().named_parameters())
        beside = log_marginal(second.model, second.guide, x, num_samples=5, estimator="guide")
        after = dict(pyro.get_param_store().named_parameters())
    assert torch.equal(alone.log_prob, beside.log_prob)
    assert before.keys() == after.keys()
    assert all(after[name] is p for name, p in before.items())


def test_progress_is_shown_unless_it_is_short_or_unwanted(linear, x, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    log_marginal(linear.model, linear.guide, x, num_samples=3, estimator="guide")
    monkeypatch.setattr("pyro_vae.output.progress.PATIENCE", 0.0)
    log_marginal(linear.model, linear.guide, x, num_samples=3, progress=False, estimator="guide")
    assert capsys.readouterr().err == ""
    log_marginal(linear.model, linear.guide, x, num_samples=3, estimator="guide")
    assert "log p(x): " in capsys.readouterr().err


# The result


def test_means_and_errors_over_images():
    result = LogMarginal(
        torch.tensor([-1.0, -2.0, -6.0]).double(),
        standard_error=torch.tensor([0.3, 0.4, 0.0]).double(),
        ess=torch.ones(3),
        khat=torch.tensor([0.1, 0.75, 0.2]),
        num_samples=torch.tensor([9, 9, 12]),
    )
    assert len(result) == 3
    assert result.mean.value == pytest.approx(-3)
    assert result.mean.monte_carlo_error == pytest.approx(0.5 / 3)
    assert result.mean.standard_error == pytest.approx(math.sqrt(7) / math.sqrt(3))
    assert "no k-hat" in repr(dataclasses.replace(result, khat=result.khat * math.nan))
    assert repr(result) == (
        "LogMarginal(mean -3.000 nats per data point, +- 1.528 over 3 data points, +- 0.167 Monte Carlo; 9 to 12 "
        "samples each, ESS from 1.0 to 1.0, k-hat up to 0.75, 1 data point unreliable; lower bound)"
    )


def test_one_image_says_nothing_about_others():
    one = LogMarginal(torch.tensor([-1.0]), torch.tensor([0.1]), torch.ones(1), torch.zeros(1), torch.tensor([9]))
    assert math.isnan(one.mean.standard_error)


# Errors and warnings


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"num_samples": 0}, r"Expected num_samples >= 1; got 0\."),
        ({"chunk_size": 0}, r"Expected chunk_size >= 1; got 0\."),
    ],
)
def test_counts_below_one_are_errors(linear, x, arguments, text):
    with pytest.raises(ValueError, match=text):
        log_marginal(linear.model, linear.guide, x, **arguments, estimator="guide")


def test_no_images_are_an_error(linear, x):
    with pytest.raises(ValueError, match=r"Expected x to hold at least one data point, .* got shape \(0, 5\)"):
        log_marginal(linear.model, linear.guide, x[:0], estimator="guide")


def test_a_latent_outside_the_plate_is_an_error():
    def model(x):
        w = pyro.sample("w", dist.Normal(0.0, 1.0))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(w, 1.0), obs=x)

    def guide(x):
        pyro.sample("w", dist.Normal(0.0, 1.0))

    with pytest.raises(ValueError, match=r"Expected site '[wx]' inside the plate over the data"):
        log_marginal(model, guide, torch.zeros(5), estimator="guide")


def test_a_guide_that_misses_a_latent_is_an_error(linear, x):
    with pytest.raises(
        ValueError, match=r"Expected the guide to sample every latent site of the model; it misses \['z'\]"
    ):
        log_marginal(linear.model, lambda x: None, x, estimator="guide")


def test_a_faulty_pair_shows_its_own_error(linear, x):
    with pytest.raises(RuntimeError, match="size"):
        log_marginal(linear.model, linear.guide, x[:, :3], estimator="guide")


def test_images_without_a_finite_estimate_are_warned_of(linear, x):
    def model(x):
        linear.model(x)
        with pyro.plate("again", len(x), dim=-1):
            pyro.factor("impossible", torch.where(x[:, 0] == 3, -math.inf, 0.0))

    x[:2, 0] = 3
    with pytest.warns(UserWarning, match=r"log p\(x, impossible\) is not finite for 2 of 23 data points: every weight"):
        result = log_marginal(model, linear.guide, x, num_samples=5, estimator="guide")
    assert (~result.log_prob.isfinite()).tolist() == [True] * 2 + [False] * 21


def test_functions_with_untrained_parameters_are_pointed_out():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(pyro.param("where", torch.tensor(0.5)), 1.0))
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 2, 1.0))

    with pytest.warns(UserWarning, match=r"The parameters \['where'\] were not in the param store .* result\.model"):
        log_marginal(model, guide, torch.zeros(3), num_samples=5, estimator="guide")
    with pyro.get_param_store().scope():
        model(torch.zeros(3))
        log_marginal(model, guide, torch.zeros(3), num_samples=5, estimator="guide")
