"""Estimates that escalate: against the truth where the guide fails, never a wrong number that passes for a good one."""

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import PAIRS
from pyro import poutine

from pyro_vae import log_marginal
from pyro_vae.evidence.counter_random import data_keys
from pyro_vae.evidence.drawing import handful
from pyro_vae.evidence.escalation import Escalation, Mixture
from pyro_vae.evidence.gaussian_fit import Gaussians
from pyro_vae.evidence.latent_space import TRIED, LatentSpace
from pyro_vae.pairs.contexts import unvalidated

N = 12


def two_modes(share):
    """x ~ a mixture of Normal(+-z, 0.3), z ~ Normal(0, 1): the guide sits on one of two modes."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            sign = dist.Categorical(torch.tensor([share, 1 - share]))
            x_given_z = dist.Normal(torch.stack([z, -z], -1), 0.3)
            pyro.sample("x", dist.MixtureSameFamily(sign, x_given_z), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.9 * x, 0.3))

    x = torch.linspace(1.0, 2.2, N)
    return model, guide, x, dist.Normal(0.0, 1.09**0.5).log_prob(x)


def heavy_tails():
    """z and x both StudentT: the truth by quadrature."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.StudentT(2.0, 0.0, 1.0))
            pyro.sample("x", dist.StudentT(2.0, z, 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 2, 0.5))

    x, z = torch.linspace(-2.0, 8.0, N), torch.linspace(-400, 400, 800_001).double()
    log_joint = dist.StudentT(2.0, 0.0, 1.0).log_prob(z)
    truth = [(log_joint + dist.StudentT(2.0, z, 1.0).log_prob(v)).logsumexp(0) + math.log(1e-3) for v in x.double()]
    return model, guide, x, torch.stack(truth)


def many_dimensions():
    """40 latents of which 5 matter, correlated in the posterior; a guide that knows nothing."""
    weight = torch.randn(20, 40, generator=torch.Generator().manual_seed(1)) * torch.tensor([1.0] * 5 + [0.02] * 35)

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(40), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z @ weight.T, 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 40), 0.5).to_event(1))

    covariance = (weight @ weight.T + 0.25 * torch.eye(20)).double()
    truth = torch.distributions.MultivariateNormal(torch.zeros(20).double(), covariance)
    x = truth.sample((N,)).float()
    return model, guide, x, truth.log_prob(x.double())


def funnel():
    """A scale and what it scales, in two sites, the first constrained: the truth by quadrature over the scale."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            scale = pyro.sample("scale", dist.LogNormal(0.0, 0.7))
            z = pyro.sample("z", dist.Normal(torch.zeros(3), scale[..., None]).to_event(1))
            pyro.sample("x", dist.Normal(z, 0.4).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("scale", dist.LogNormal(torch.zeros(len(x)), 0.4))
            pyro.sample("z", dist.Normal(x, 0.3).to_event(1))

    x, log_scale = torch.randn(N, 3), torch.linspace(-8, 8, 20_001).double()
    spread = (log_scale.mul(2).exp() + 0.16).sqrt()
    log_joint = dist.Normal(0.0, 0.7).log_prob(log_scale)[:, None] + dist.Normal(0.0, spread[:, None, None]).log_prob(
        x.double()
    ).sum(-1)
    return model, guide, x, log_joint.logsumexp(0) + math.log(16 / 20_000)


def simplex():
    """Proportions: counts of three categories under a Dirichlet, a closed form; a guide that is too narrow."""
    counts = torch.tensor([[a, b, 12.0 - a - b] for a, b in [(1, 2), (4, 4), (0, 0), (6, 5), (12, 0), (3, 9)] * 2])

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            p = pyro.sample("p", dist.Dirichlet(torch.ones(3)))
            pyro.sample("x", dist.Multinomial(12, probs=p, validate_args=False), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("p", dist.Dirichlet(4 * x + 2.0))

    return model, guide, counts, dist.DirichletMultinomial(torch.ones(3), 12).log_prob(counts).double()


CASES = {
    "two equal modes": lambda: two_modes(0.5),
    "guide at the wrong mode": lambda: two_modes(1e-3),
    "heavy tails": heavy_tails,
    "40 dimensions, 5 active": many_dimensions,
    "funnel, two sites": funnel,
    "simplex": simplex,
}


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
@pytest.mark.parametrize("case", CASES)
def test_it_is_the_truth_where_the_guide_fails(case):
    model, guide, x, truth = CASES[case]()
    plain = log_marginal(model, guide, x, estimator="guide", num_samples=1000)
    result = log_marginal(model, guide, x, num_samples=1000)
    trusted = ~result.unreliable
    assert trusted.double().mean() >= 0.75
    error = (result.log_prob - truth).abs()
    assert (error < 5 * result.standard_error)[trusted].all()
    assert error[trusted].mean() < 0.5 * (plain.log_prob - truth).abs()[trusted].mean()
    assert (result.details["rung"] > 0).any()


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
@pytest.mark.parametrize("name", PAIRS)
def test_every_pair_goes_through_to_no_less_than_its_guide_finds(name):
    """Discrete latents and spheres stay with the guide; a simplex, several sites, functions are fitted like others."""
    pair = PAIRS[name]()
    x = pair.x[:2]
    with pyro.get_param_store().scope():
        pair.guide(x), pair.model(x)
        result = log_marginal(pair.model, pair.guide, x, num_samples=200)
        plain = log_marginal(pair.model, pair.guide, x, num_samples=2000, estimator="guide")
    assert ("rung" in result.details) == (name not in ("VAE, one-hot", "VAE, sphere"))
    # A floor: errors of heavy-tailed weights are themselves uncertain.
    above = (result.log_prob - plain.log_prob) / (torch.hypot(result.standard_error, plain.standard_error) + 0.01)
    assert not result.unreliable.any()
    assert (above > -5).all()
    assert (above < 5)[plain.ess > 200].all()


def test_a_good_guide_is_kept():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 2, 0.8))

    x = torch.randn(10)
    result = log_marginal(model, guide, x, num_samples=500)
    assert (result.details["rung"] == 0).all()
    assert torch.equal(result.log_prob, log_marginal(model, guide, x, estimator="guide", num_samples=500).log_prob)


def test_discrete_latents_stay_with_the_guide():
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Bernoulli(0.5)), 1.0), obs=x)

    x = torch.randn(5)
    result = log_marginal(model, model_without_data(model), x, num_samples=400)
    assert result.estimator == "importance sampling from the guide"
    truth = torch.logsumexp(torch.stack([dist.Normal(m, 1.0).log_prob(x) for m in (0.0, 1.0)]), 0) - math.log(2)
    assert ((result.log_prob - truth).abs() < 5 * result.standard_error).all()


def model_without_data(model):
    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Bernoulli(0.5).expand([len(x)]))

    return guide


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
def test_numbers_belong_to_data_points():
    """Order, company and portions change nothing but the last digits."""
    model, guide, x, _ = two_modes(0.5)
    whole = log_marginal(model, guide, x, num_samples=100)
    turned = log_marginal(model, guide, x.flip(0), num_samples=100)
    torch.testing.assert_close(turned.log_prob.flip(0), whole.log_prob, rtol=1e-3, atol=1e-3)
    some = log_marginal(model, guide, x, num_samples=100, only=[3, 5])
    torch.testing.assert_close(some.log_prob, whole.log_prob[[3, 5]], rtol=1e-3, atol=1e-3)


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
def test_what_is_shared_out_is_what_one_process_finds():
    """Also where the posterior has no axes of its own, and those that rounding chooses could be any."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(len(x), 4), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(torch.sin(z), 0.5).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 4), 0.5).to_event(1))

    x = 0.3 * torch.randn(12, 4)
    whole = log_marginal(model, guide, x, num_samples=50)
    assert (whole.details["rung"] > 0).all()
    for share in (range(0, 12, 2), range(1, 12, 2), [7]):
        some = log_marginal(model, guide, x, num_samples=50, only=[*share])
        torch.testing.assert_close(some.log_prob, whole.log_prob[[*share]], rtol=1e-6, atol=1e-5)


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
def test_the_mean_weight_is_p_of_x_and_the_mean_logarithm_lies_below():
    """Over many draws of few samples, where a proposal chosen by the reported draws themselves would show."""
    model, guide, x, truth = two_modes(0.5)
    estimates = log_marginal(model, guide, x.repeat(30), num_samples=20).log_prob.view(30, -1)  # copies draw their own
    ratio = (estimates - truth).exp()
    error = ratio.std(0) / len(ratio) ** 0.5
    assert ((ratio.mean(0) - 1).abs() < 5 * error).all()
    low = estimates - truth
    assert (low.mean(0) < 5 * low.std(0) / len(low) ** 0.5).all()


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
def test_samples_are_added_until_the_error_is_small():
    model, guide, x, truth = funnel()
    result = log_marginal(model, guide, x, num_samples=100, target_standard_error=0.02, max_samples=20_000)
    assert result.standard_error.median() < 0.03
    assert (result.num_samples > 100).all()
    good = ~result.unreliable
    assert ((result.log_prob - truth).abs() < 5 * result.standard_error)[good].all()


def narrow(dtype=torch.float32, *, model_of=lambda z: z):
    """z ~ Normal(0, 1), x ~ Normal(model_of(z), 0.3), a guide whose weights have no variance, and log p(x) for the
    identity."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros((), dtype=dtype), 1.0))
            pyro.sample("x", dist.Normal(model_of(z), 0.3, validate_args=False), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.5 * x, 0.2))

    x = torch.linspace(-1.0, 1.0, N, dtype=dtype)
    return model, guide, x, dist.Normal(0.0, 1.09**0.5).log_prob(x)


def within_errors(result, truth):
    trusted = ~result.unreliable
    assert trusted.any()
    return bool(((result.log_prob - truth).abs() < 5 * result.standard_error)[trusted].all())


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
def test_double_precision():
    model, guide, x, truth = narrow(torch.float64)
    result = log_marginal(model, guide, x, num_samples=500)
    assert (result.details["rung"] > 0).any()
    assert within_errors(result, truth)


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
@pytest.mark.parametrize("limit", [1.5, 3.5])
@pytest.mark.parametrize("error", [RuntimeError, AssertionError])
def test_a_model_that_raises_where_its_guide_never_draws_stays_with_the_guide(limit, error):
    """Near, so that the first draws from the prior find it, and far, so that only some data point's do."""

    def raising(z):
        if (z.abs() > limit).any():
            raise error("out of range")
        return z

    model, guide, x, _ = narrow(model_of=raising)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = log_marginal(model, guide, x, num_samples=500)
    sentences = [str(warning.message) for warning in said if warning.category is UserWarning]
    plain = log_marginal(model, guide, x, estimator="guide", num_samples=500)
    kept = result.details["rung"] == 0 if "rung" in result.details else torch.ones(N, dtype=torch.bool)
    assert kept.any()
    assert torch.equal(result.log_prob[kept], plain.log_prob[kept])
    count = f"{int(kept.sum())} data points, which stay with samples from the guide. "
    ends = f"{count}The first: {error.__name__}: out of range"
    assert [sentence[-len(ends) :] for sentence in sentences] == [ends] * ("rung" in result.details)


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
@pytest.mark.parametrize("error", [RuntimeError("ours"), torch.linalg.LinAlgError("not positive")])
def test_only_a_failed_decomposition_and_errors_of_the_pair_fall_back_to_the_guide(error, monkeypatch):
    def failing(*args, **kwargs):
        raise error

    model, guide, x, _ = narrow()
    monkeypatch.setattr("pyro_vae.evidence.escalation.fitted", failing)
    if isinstance(error, torch.linalg.LinAlgError):
        assert (log_marginal(model, guide, x, num_samples=500).details["rung"] == 0).all()
    else:
        with pytest.raises(RuntimeError, match="ours"):
            log_marginal(model, guide, x, num_samples=500)


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
def test_where_the_model_has_no_number_the_estimate_is_not_trusted():
    """A scale that is nan beyond z = 1, where the guide of a third of the data never comes: half of p(x) is unknown."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            scale = torch.where(z > 1, math.nan, 0.5)
            pyro.sample("x", dist.Normal(z, scale, validate_args=False), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.8 * x - 1.5, 0.1))

    result = log_marginal(model, guide, torch.tensor([-2.0, 1.0, 1.25]))
    assert result.unreliable[1:].all()  # the posterior reaches beyond 1 there
    assert (result.khat[1:] >= 1).all()
    assert result.log_prob.isfinite().all()


def test_a_masked_latent_has_no_density_to_fit():
    """Where it is masked, every value of it has density 1: a Gaussian's share of that would pass for evidence."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with poutine.mask(mask=x > 0):
                more = pyro.sample("more", dist.Normal(0.0, 1.0))
            pyro.sample("x", dist.Normal(z + torch.where(x > 0, more, 0.0), 0.5), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(0.4 * x, 0.8))
            with poutine.mask(mask=x > 0):
                pyro.sample("more", dist.Normal(0.4 * x, 0.8))

    x = torch.linspace(-2.0, 2.0, N)
    truth = dist.Normal(0.0, torch.where(x > 0, 2.25, 1.25).sqrt()).log_prob(x)
    assert within_errors(log_marginal(model, guide, x, num_samples=1000), truth)


@pytest.mark.parametrize("wrap", [lambda q: q, lambda q: q.mask(True)])
def test_an_angle_is_not_unrolled(wrap):
    """Its density repeats itself along the line: a Gaussian wider than a turn would count it twice."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", wrap(dist.VonMises(torch.zeros(len(x)), 0.5)))
            pyro.sample("x", dist.Normal(torch.stack([z.cos(), z.sin()], -1), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", wrap(dist.VonMises(torch.atan2(x[:, 1], x[:, 0]), 0.7)))

    x, angle = torch.randn(N, 2), torch.linspace(-math.pi, math.pi, 20_001)[:-1].double()
    on_circle = torch.stack([angle.cos(), angle.sin()], -1)[:, None]
    log_joint = dist.VonMises(torch.tensor(0.0).double(), 0.5).log_prob(angle)[:, None]
    log_joint = log_joint + dist.Normal(on_circle, 1.0).log_prob(x.double()).sum(-1)
    result = log_marginal(model, guide, x, num_samples=1000)
    assert result.estimator == "importance sampling from the guide"
    assert within_errors(result, log_joint.logsumexp(0) + math.log(2 * math.pi / 20_000))


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
def test_proportions_nearer_to_zero_than_rounding_stay_with_the_guide():
    """A tenth of a sparse Dirichlet's mass lies where unconstrained numbers of single precision cannot reach."""
    counts = torch.tensor([[12.0, 0, 0], [0, 0, 12], [4, 4, 4]])

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            p = pyro.sample("p", dist.Dirichlet(torch.full((3,), 0.1)))
            pyro.sample("x", dist.Multinomial(12, probs=p, validate_args=False), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("p", dist.Dirichlet(3 * x + 0.3))

    assert log_marginal(model, guide, counts, num_samples=100).estimator == "importance sampling from the guide"


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
def test_a_guide_that_does_not_know_its_density_adds_nothing():
    """A scale whose square is 0 has no density at its own draws: they are left out of the sum as out of the mixture."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 2, 1e-25))

    x = torch.full((100,), 1.0)
    with unvalidated(), torch.no_grad():
        space = LatentSpace(model, guide, x[handful(x)])
        escalation = Escalation(space, is_keyed=True, seed=0, at_once=4096, done=lambda n: None)
        part = Gaussians.diagonal(torch.full((100, 1), 0.5), torch.full((100, 1), 0.8))
        mixture = Mixture((part,), torch.ones(1, 100))
        result = escalation.sampler.estimate(x, data_keys(x, 0), mixture, 100)
    ratio = (result.log_prob - dist.Normal(0.0, 2**0.5).log_prob(x)).exp()
    assert (ratio.mean() - 1).abs() < 5 * ratio.std() / 10


def test_no_more_pairs_at_once_than_asked_for():
    most = []

    def counted(z):
        most.append(z.numel())
        return z

    model, guide, x, _ = narrow(model_of=counted)
    x = x[[0, -1]]
    beforehand = 2 * TRIED  # on a handful of data points, whatever the chunks
    log_marginal(model, guide, x, num_samples=200, chunk_size=10)
    late = most[max(i for i, size in enumerate(most) if size == TRIED) + 1 :]
    assert max(late) <= 10
    assert max(most) <= beforehand


@pytest.mark.filterwarnings("ignore::pyro_vae.evidence.HeavyTail")
def test_a_pilot_that_doubts_the_last_proposal_flags_the_result():
    """A posterior along a ring, which six Gaussians do not cover: draws that miss much of it have the best k-hat."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z.norm(dim=-1), 0.02), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.tensor([1.0, 0.0]) * x[:, None], 0.2).to_event(1))

    x, radius = torch.full((60,), 1.5), torch.linspace(1e-6, 12, 100_001).double()
    log_joint = radius.log() - radius.square() / 2 + dist.Normal(radius, 0.02).log_prob(torch.tensor(1.5).double())
    truth = log_joint.logsumexp(0) + math.log(12 / 100_000)
    result = log_marginal(model, guide, x, num_samples=300, max_samples=1000)  # not enough for annealed chains
    wrong = (result.log_prob - truth).abs() > 3 * result.standard_error
    assert wrong.any()
    assert (wrong & ~result.unreliable).double().mean() < 0.1
