"""Data, guides and plates for which a pair cannot be right are refused, by training and estimators alike."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions.transforms import AffineTransform, block_autoregressive, planar, radial, sylvester
from pyro.infer.autoguide import AutoDelta, AutoMultivariateNormal
from torch import nn

from pyro_vae import annealed_log_marginal, diagnose, fit, inference_gaps, log_marginal
from pyro_vae.pairs.scoring import score

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
SHORT = {"num_temperatures": 2, "num_leapfrog": 1, "num_chains": 2, "num_warmup_chains": 1, "compile": False}


def train(model, guide, x, **options):
    return fit(model, guide, x, **{"epochs": 1, "progress": False, **options})


def annealed(model, guide, x):
    return annealed_log_marginal(model, guide, x, start="prior", **SHORT)


def gaps(model, guide, x):
    return inference_gaps(model, guide, x, torch.zeros(len(x)), num_steps=1, num_samples=2)


EVERYWHERE = pytest.mark.parametrize("use", [train, log_marginal, annealed, diagnose, gaps])
TRAINED_AND_WEIGHTED = pytest.mark.parametrize("use", [train, log_marginal])


class Latent(nn.Module):
    """z ~ N(0, 1) of each data point and q(z|x) = N(slope * x, 1); `observe` says what is seen of it."""

    def __init__(self, observe):
        super().__init__()
        self.observe, self.slope = observe, nn.Parameter(torch.tensor(0.3))

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            self.observe(pyro.sample("z", dist.Normal(0.0, 1.0)), x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(self.slope * x.flatten(1).sum(1), 1.0))


# What is observed


@EVERYWHERE
def test_a_model_that_observes_nothing(use):
    pair = Latent(lambda z, x: dist.Normal(z, 1.0).log_prob(x[:, 0]))
    with pytest.raises(ValueError, match=r"^Expected a model that observes the data; .* obs=x"):
        use(pair.model, pair.guide, torch.randn(5, 1))


@TRAINED_AND_WEIGHTED
def test_a_forgotten_obs(use):
    pair = Latent(lambda z, x: pyro.sample("word", dist.Normal(z, 1.0)))
    with pytest.raises(ValueError, match=r"misses \['word'\].* observe it: pyro.sample\('word', ..., obs=x\)"):
        use(pair.model, pair.guide, torch.randn(5, 1))


@EVERYWHERE
@pytest.mark.parametrize(
    ("distribution", "wrong"),
    [
        (lambda z: dist.Bernoulli(logits=z[..., None], validate_args=False), 0.4),
        (lambda z: dist.Poisson(z[..., None].exp(), validate_args=False), 2.5),
        (lambda z: dist.Beta(z[..., None].exp(), 2.0, validate_args=False), 1.5),
        (lambda z: dist.Bernoulli(logits=z[..., None]), -1),
    ],
)
def test_a_single_value_outside_the_support(use, distribution, wrong):
    pair = Latent(lambda z, x: pyro.sample("x", distribution(z).expand([*z.shape, 3]).to_event(1), obs=x))
    x = torch.full((300, 3), 0.5) if "Beta" in repr(distribution(torch.zeros(1))) else torch.ones(300, 3)
    x[270, 1] = wrong
    with pytest.raises(ValueError, match=rf"^Expected data in the support of site 'x', .*got values such as {wrong}"):
        use(pair.model, pair.guide, x)


def test_values_under_a_mask_are_not_looked_at():
    def observe(z, x):
        with poutine.mask(mask=x[:, 0] >= 0):
            pyro.sample("x", dist.Bernoulli(logits=z, validate_args=False), obs=x[:, 0])

    pair = Latent(observe)
    result = log_marginal(
        pair.model, pair.guide, torch.tensor([[1.0], [0.0], [-0.5]]), num_samples=1000, estimator="guide"
    )
    assert result.log_prob[2].abs() < 5 * result.standard_error[2]
    assert (result.log_prob[:2] < -0.3).all()


# Shapes


def column(z, x):
    pyro.sample("x", dist.Normal(z, 1.0), obs=x)  # (B, 1) against (B,)


def forgotten(z, x):
    pyro.sample("x", dist.Normal(z[..., None], 1.0).expand([*z.shape, x.shape[1]]), obs=x)


def more_channels(z, x):
    pyro.sample("x", dist.Normal(z[..., None, None], 1.0).expand([*z.shape, 2, 2]).to_event(2), obs=x)


@EVERYWHERE
def test_a_dimension_that_no_plate_holds(use):
    for observe, x in ((column, torch.randn(5, 1)), (more_channels, torch.randn(5, 2, 2)[:, None])):
        pair = Latent(observe)
        with pytest.raises(ValueError, match=r"log-probability of shape \(5,\) at site 'x', .* got \(5, (1, )?5\)"):
            use(pair.model, pair.guide, x)


@EVERYWHERE
@pytest.mark.parametrize("size", [2, 5])
def test_a_forgotten_to_event(use, size):
    """Also where the dimension has the size of the batch."""
    pair = Latent(forgotten)
    with pytest.raises(ValueError, match=r"at site 'x'.* got .*to_event\(1\)"):
        use(pair.model, pair.guide, torch.randn(5, size))


@TRAINED_AND_WEIGHTED
def test_a_value_that_an_event_would_count_several_times(use):
    pair = Latent(lambda z, x: pyro.sample("x", dist.Normal(z[..., None], torch.ones(4)).to_event(1), obs=x))
    with pytest.raises(ValueError, match=r"values of event shape \(4,\) at site 'x'; got \(1,\)"):
        use(pair.model, pair.guide, torch.randn(6, 1))


@TRAINED_AND_WEIGHTED
def test_as_many_latents_in_guide_and_model(use):
    class Pair(nn.Module):
        def __init__(self, prior):
            super().__init__()
            self.prior, self.encode = prior, nn.Linear(2, 8)

        def model(self, x):
            with pyro.plate("data", len(x), dim=-1):
                z = pyro.sample("z", self.prior)
                pyro.sample("x", dist.Normal(z.sum(), 1.0).expand([2]).to_event(1), obs=x)

        def guide(self, x):
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal(self.encode(x), 1.0).to_event(1))

    for prior, shape in ((dist.Normal(torch.zeros(7), 1.0).to_event(1), r"\(7,\)"), (dist.Normal(0.0, 1.0), r"\(\)")):
        pair = Pair(prior)
        with pytest.raises(ValueError, match=rf"as many dimensions of site 'z'.*event shape {shape}; got \(8,\)"):
            use(pair.model, pair.guide, torch.randn(5, 2))


@EVERYWHERE
def test_a_scale_below_zero_is_said_in_a_sentence(use):
    pair = Latent(lambda z, x: pyro.sample("x", dist.Normal(z, -pair.slope.exp()), obs=x[:, 0]))
    with pytest.raises(ValueError, match=r"^Expected scale of a Normal to satisfy GreaterThan.*softplus\.$") as error:
        use(pair.model, pair.guide, torch.randn(100, 1))
    assert "\n" not in str(error.value)


# Plates


def parts(z, x, **subsample):
    with pyro.plate("parts", x.shape[1], dim=-2, **subsample) as seen:
        pyro.sample("x", dist.Normal(z, 1.0), obs=x.T[seen])


@pytest.mark.parametrize("use", [log_marginal, annealed])
def test_the_visited_part_of_a_plate_has_no_log_p(use):
    pair = Latent(lambda z, x: parts(z, x, subsample_size=2))
    with pytest.raises(ValueError, match="Expected all of the plates around site 'x'; got a part"):
        use(pair.model, pair.guide, torch.randn(5, 8))


def test_the_visited_part_of_a_plate_stands_for_the_whole():
    """In expectation, with the same latents."""
    x = torch.randn(1, 8)
    part, whole = Latent(lambda z, x: parts(z, x, subsample_size=2)), Latent(parts)
    fixed = poutine.replay(whole.guide, trace=poutine.trace(whole.guide).get_trace(x))
    values = torch.stack([score(part.model, fixed, x).distortion for _ in range(2000)])
    truth = score(whole.model, fixed, x).distortion
    assert (values.mean() - truth).abs() < 5 * values.std() / math.sqrt(len(values))


class Total(Latent):
    """Pyro's tutorials state the size of all data in the plate."""

    def __init__(self, total):
        super().__init__(None)
        self.total = total

    def model(self, x):
        with pyro.plate("data", self.total or len(x), subsample=x, dim=-1):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x[:, 0])

    def guide(self, x):
        with pyro.plate("data", self.total or len(x), subsample=x, dim=-1):
            pyro.sample("z", dist.Normal(self.slope * x[:, 0], 1.0))


def test_losses_are_of_a_data_point_whatever_total_the_plate_states():
    x, histories = torch.randn(40, 1), []
    for total in (None, 40, 1000):
        pair = Total(total)
        histories.append(train(pair.model, pair.guide, x, batch_size=10, validation=x).history[0])
    for name in ("loss", "validation_elbo", "grad_norm"):
        assert histories[1][name] == pytest.approx(histories[0][name], rel=1e-5)
        assert histories[2][name] == pytest.approx(histories[0][name], rel=1e-5)


def test_a_scale_around_all_of_a_pair_is_refused_in_training():
    pair = Total(None)
    scaled = [poutine.scale(function, scale=0.01) for function in (pair.model, pair.guide)]
    with pytest.raises(ValueError, match=r"got all its sites scaled by 0\.01"):
        train(*scaled, torch.randn(20, 1))


# Guides


@TRAINED_AND_WEIGHTED
@pytest.mark.parametrize("autoguide", [AutoDelta, AutoMultivariateNormal])
def test_autoguides_are_refused(use, autoguide):
    pair = Total(None)
    with pytest.raises(ValueError, match=r"got an AutoGuide.*amortized"):
        use(pair.model, autoguide(pair.model), torch.randn(6, 1))


@pytest.mark.parametrize("shape", [(6,), (6, 2), (2, 6)])
def test_parameters_by_place_are_refused(shape):
    def guide(x):
        means = pyro.param("means", torch.zeros(shape))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(means if means.dim() == 1 else means.sum(shape.index(2)), 1.0))

    with pytest.raises(ValueError, match=r"got 'means' of shape \([\d, ]+\), with an entry"):
        train(Total(None).model, guide, torch.randn(20, 1), batch_size=6)


def test_layers_and_tables_as_large_as_the_batch_are_not_taken_for_places():
    class Pair(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(6, 1)
            self.encode = nn.Sequential(nn.Linear(1, 6), nn.ReLU(), nn.Linear(6, 1))

        def model(self, x):
            Total(None).model(x)

        def guide(self, x):
            with pyro.plate("data", len(x), dim=-1):
                pyro.sample("z", dist.Normal((self.encode(x) + self.table(x[:, 0].long()))[:, 0], 1.0))

    pair = Pair()
    assert train(pair.model, pair.guide, torch.arange(6.0)[:, None], batch_size=6).best_epoch == 1


class OnlyCalled(dist.TorchDistribution):
    """Drawn from by calling it, and in no other way."""

    def __init__(self, normal):
        self.normal, self.has_rsample = normal, True

    event_shape = property(lambda self: self.normal.event_shape)
    batch_shape = property(lambda self: self.normal.batch_shape)

    def __call__(self, sample_shape=()):
        return self.normal.rsample(sample_shape)

    def log_prob(self, value):
        return self.normal.log_prob(value)

    def expand(self, batch_shape, _instance=None):
        return OnlyCalled(self.normal.expand(batch_shape))


def two_dimensional(transform):
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", transform(dist.Normal(torch.zeros(2), 1.0).to_event(1), prior=True))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", transform(dist.Normal(x / 2, 0.9).to_event(1), prior=False))

    return model, guide


@pytest.mark.parametrize("flow", [planar, radial, sylvester, block_autoregressive])
def test_flows_without_an_inverse_as_guide(flow):
    layers = [flow(2)]
    if flow is block_autoregressive:  # alone, its values are bounded
        layers = [flow(2, residual="gated"), AffineTransform(0.0, 2.0, cache_size=1)]
    model, guide = two_dimensional(lambda q, prior: q if prior else dist.TransformedDistribution(q, layers))
    x = torch.tensor([[0.3, -1.0], [1.0, 0.5]])
    result = log_marginal(model, guide, x, num_samples=2000, estimator="guide")
    truth = dist.Normal(0.0, 2**0.5).log_prob(x).sum(1)
    assert ((result.log_prob - truth) / result.standard_error).abs().max() < 5
    with pytest.raises(ValueError, match=r"no inverse .* Give defensive=0\."):
        log_marginal(model, guide, x, defensive=0.2, estimator="guide")
    with pytest.raises(ValueError, match=r"no inverse .* Use start='prior'\."):
        annealed_log_marginal(model, guide, x, **SHORT)


def test_a_flow_that_cannot_score_its_own_draws():
    layers = [planar(2), AffineTransform(0.0, 2.0)]
    model, guide = two_dimensional(lambda q, prior: q if prior else dist.TransformedDistribution(q, layers))
    for use in (train, log_marginal):
        with pytest.raises(ValueError, match=r"no inverse .* cache_size=1\.$"):
            use(model, guide, torch.zeros(3, 2))


def test_distributions_that_are_only_called():
    model, guide = two_dimensional(lambda q, prior: OnlyCalled(q))
    x = torch.tensor([[0.3, -1.0], [1.0, 0.5]])
    result = log_marginal(model, guide, x, num_samples=2000, estimator="guide")
    truth = dist.Normal(0.0, 2**0.5).log_prob(x).sum(1)
    assert ((result.log_prob - truth) / result.standard_error).abs().max() < 5
    assert diagnose(model, guide, x, num_pool=0).elbo.value < truth.mean()

    def shifted(x):
        guide(x + pyro.param("shift", torch.zeros(())))

    assert train(model, shifted, x).best_epoch == 1


def pair_of(prior, posterior):
    """z of a prior and a guide that are functions of an input c, and x ~ N(z, 1)."""

    def model(c, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(pyro.sample("z", prior(c)).float(), 1.0), obs=x)

    def guide(c, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", posterior(c))

    return model, guide


def of_three(c):
    return dist.Categorical(torch.ones(len(c), 3))


REACHES = {
    "uniform": (lambda c: dist.Uniform(0 * c, c), lambda c: dist.Uniform(0 * c, c.clamp(max=2))),
    "binomial": (lambda c: dist.Binomial(c, 0 * c + 0.5), lambda c: dist.Binomial(c.clamp(max=2), 0 * c + 0.5)),
    "categorical": (
        of_three,
        lambda c: dist.Categorical(logits=torch.where((c > 2)[:, None] & torch.eye(3)[2].bool(), -math.inf, 0.0)),
    ),
}


@pytest.mark.parametrize("kind", REACHES)
def test_a_guide_reaches_what_the_prior_does_for_all_data(kind):
    c, x = torch.tensor([1.0, 1.0, 2.0, 1.0, 5.0]), torch.zeros(5)
    prior, posterior = REACHES[kind]
    with pytest.raises(ValueError, match=r"to reach all|draws, however rarely, all"):
        log_marginal(*pair_of(prior, posterior), (c, x), estimator="guide", num_samples=10)
    log_marginal(*pair_of(prior, posterior), (c[:4], x[:4]), estimator="guide", num_samples=10)


def test_a_binomial_of_another_number_for_each_data_point():
    c, x = torch.tensor([1.0, 4.0, 2.0]), torch.tensor([0.5, 2.0, 1.0])
    pair = pair_of(lambda c: dist.Binomial(c, 0 * c + 0.5), lambda c: dist.Binomial(c, 0 * c + 0.4))
    result = log_marginal(*pair, (c, x), num_samples=2000)
    z = torch.arange(5.0)[:, None].double()
    log_prior = torch.lgamma(c + 1) - torch.lgamma(z + 1) - torch.lgamma(c - z + 1) - c * math.log(2)
    truth = (log_prior + dist.Normal(z, 1.0).log_prob(x)).masked_fill(z > c, -math.inf).logsumexp(0)
    assert ((result.log_prob - truth).abs() < 5 * result.standard_error).all()
