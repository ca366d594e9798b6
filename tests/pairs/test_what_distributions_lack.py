"""Distributions without a density, draws, a support or an inverse, as priors and guides: the right number in each use
that does without, and a sentence in the others."""

import functools
import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.distributions import constraints, transforms
from pyro.infer import Trace_ELBO
from torch import nn

from pyro_vae import (
    CompiledELBO,
    annealed_log_marginal,
    bidirectional,
    diagnose,
    encode,
    fit,
    inference_gaps,
    log_marginal,
    sample,
)

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
N, D = 6, 2
SHORT = {"num_temperatures": 3, "num_leapfrog": 1, "num_chains": 4, "num_warmup_chains": 1, "compile": False}
USES = {
    "fit": lambda *pair: fit(*pair, epochs=1, progress=False, compile=False),
    "fit, recorded": lambda *pair: fit(
        *pair, epochs=1, progress=False, objective=CompiledELBO(Trace_ELBO(), backend="eager")
    ),
    "log_marginal": functools.partial(log_marginal, num_samples=200),
    "from the guide": functools.partial(log_marginal, num_samples=200, estimator="guide"),
    "annealed, from the prior": functools.partial(annealed_log_marginal, start="prior", **SHORT),
    "annealed": functools.partial(annealed_log_marginal, **SHORT),
    "bidirectional": functools.partial(bidirectional, **SHORT),
    "diagnose": functools.partial(diagnose, num_samples=2),
    "gaps": lambda *pair: inference_gaps(*pair, torch.zeros(N), num_steps=1, num_samples=2),
    "sample": lambda model, _, x: sample(model, x),
    "encode": encode,
}


@pytest.fixture(autouse=True)
def _short_warm_up(monkeypatch):
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.FIRST_TRANSITIONS", 2)
    monkeypatch.setattr("pyro_vae.evidence.annealed_chains.LEAST_TRANSITIONS", 2)


def standard():
    return dist.Normal(torch.zeros(D), 1.0).to_event(1)


class Pair(nn.Module):
    """x ~ N(z, 1) for z of any prior, and a guide that is N(x / 2, 1 / 2) or what is given."""

    def __init__(self, prior=standard, guide=None):
        super().__init__()
        self.prior, self.of_guide, self.shift = prior, guide, nn.Parameter(torch.zeros(()))

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(pyro.sample("z", self.prior()), 1.0).to_event(1), obs=x)

    def guide(self, x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample(
                "z", dist.Normal(x / 2 + self.shift, 0.5**0.5).to_event(1) if not self.of_guide else self.of_guide()
            )


class Own(dist.TorchDistribution):
    """The standard normal as a class of one's own."""

    arg_constraints, support, has_rsample = {}, constraints.real_vector, True

    def __init__(self, batch_shape=()):
        super().__init__(torch.Size(batch_shape), torch.Size([D]), validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return type(self)(batch_shape)

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008
        return torch.randn(self._extended_shape(sample_shape))

    def log_prob(self, value):
        return -0.5 * (value.square() + math.log(2 * math.pi)).sum(-1)


def without(method):
    """The class with a method or a property as torch leaves it, not implemented."""
    return type(f"Without{method.title()}", (Own,), {method: vars(torch.distributions.Distribution)[method]})


class Softened(torch.distributions.Transform):
    domain = codomain = constraints.real
    bijective = True

    def _call(self, x):
        return x + x.tanh()

    def log_abs_det_jacobian(self, x, y):
        return (2 - x.tanh().square()).log()


def empirical():
    return dist.Empirical(torch.randn(20, D), torch.zeros(20))


def flat():
    return dist.ImproperUniform(constraints.real_vector, (), (D,))


def transformed(transform):
    return lambda: dist.TransformedDistribution(standard(), [transform])


MASKED = "under the same mask in model and guide"
READ = "that a mask leaves out to change nothing else"
MOVED = ("annealed, from the prior", "annealed", "bidirectional")
FREE = ("sample", "encode")  # of which the first runs the model alone, and neither scores z
SCORED = [use for use in USES if use not in FREE]
CASES = {
    "empirical prior": (Pair(empirical), {"got Empirical": USES}),
    "empirical guide": (Pair(guide=empirical), {"got Empirical": [use for use in USES if use != "sample"]}),
    "point mass as prior": (
        Pair(lambda: dist.Delta(torch.zeros(D), event_dim=1)),
        {
            "Expected a prior with a density at site 'z'": ["fit", "fit, recorded", "log_marginal", "from the guide"],
            "which no draw of the guide hits": ["annealed", "diagnose", "gaps"],
            "site 'z' is a point mass. Write pyro.deterministic": ["annealed, from the prior", "bidirectional"],
        },
    ),
    "mask in the prior": (
        Pair(lambda: standard().mask(False)),
        {MASKED: [use for use in SCORED if use != MOVED[0]], READ: MOVED[:1]},
    ),
    "mask in both": (Pair(lambda: standard().mask(False), lambda: standard().mask(False)), {READ: SCORED}),
    "prior without log_prob": (
        Pair(without("log_prob")),
        {"can score values; got WithoutLog_Prob, which cannot": [use for use in USES if use != "encode"]},
    ),
    "prior without draws": (
        Pair(without("rsample")),
        {"Expected a prior that can be drawn from": ["log_marginal", "from the guide", *MOVED, "sample"]},
    ),
    "guide without draws": (
        Pair(guide=without("rsample")),
        {"that can be drawn from; got WithoutRsample": [use for use in USES if use != "sample"]},
    ),
    "flat guide": (
        Pair(guide=lambda: dist.ImproperUniform(constraints.real_vector, (), (D,))),
        {"that can be drawn from; got ImproperUniform": [use for use in USES if use != "sample"]},
    ),
    "prior without expand": (Pair(without("expand")), {"repeated along a plate; got WithoutExpand": USES}),
    "prior without support": (Pair(without("support")), {"Expected latents whose support is known": MOVED}),
    "prior without inverse": (
        Pair(transformed(Softened())),
        {"can score values; got Softened, which cannot": [use for use in USES if use != "encode"]},
    ),
    "prior that is not one-to-one": (
        Pair(transformed(transforms.AbsTransform()), lambda: dist.LogNormal(torch.zeros(D), 1.0).to_event(1)),
        {"that are one-to-one": [use for use in USES if use != "encode"]},
    ),
    "nothing": (Pair(lambda: None), {"Expected a distribution at site 'z'; got NoneType": USES}),
}


@pytest.mark.parametrize("case", CASES)
def test_right_or_a_sentence(case):
    (pair, refused), x = CASES[case], torch.randn(N, D)
    said = {use: sentence for sentence, uses in refused.items() for use in uses}
    for use, run in USES.items():
        if use in said:
            with pytest.raises((ValueError, TypeError), match=said[use]):
                run(pair.model, pair.guide, x)
        else:
            result = run(pair.model, pair.guide, x)
            if use in ("log_marginal", "from the guide"):  # where z is a standard normal
                assert_right(result, x)


def assert_right(result, x):
    truth = dist.Normal(0.0, 2**0.5).log_prob(x).sum(-1)
    assert ((result.log_prob - truth).abs() <= 5 * result.standard_error + 1e-4).all()


@pytest.mark.parametrize("use", ["log_marginal", "from the guide"])
def test_a_prior_that_draws_one_at_a_time(use):
    pair = Pair(lambda: dist.MixtureOfDiagNormals(torch.zeros(3, D), torch.ones(3, D), torch.zeros(3)))
    x = torch.randn(N, D)
    assert_right(USES[use](pair.model, pair.guide, x), x)


def test_a_layer_for_more_latents_than_there_are():
    layer = nn.Linear(D + 1, D)

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(layer(pyro.sample("z", standard())), 1.0).to_event(1), obs=x)

    for use in ("fit", "log_marginal", "diagnose", "sample"):
        with pytest.raises(
            ValueError, match="Expected 3 numbers for each data point as input of a linear layer; got 2"
        ):
            USES[use](model, Pair().guide, torch.randn(N, D))


def test_a_mask_that_nothing_reads_is_right():
    """Steps of the padding do not count, and nothing that counts reads them: log p of the first, whatever the rest."""

    def model(x, known):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(D), 1.0).mask(known).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).mask(known).to_event(1), obs=x)

    def guide(x, known):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5).mask(known).to_event(1))

    x, known = torch.randn(N, D), torch.arange(D) < torch.tensor([1, 2, 1, 2, 2, 1])[:, None]
    truth = (dist.Normal(0.0, 2**0.5).log_prob(x) * known).sum(-1)
    result = log_marginal(model, guide, (x, known), num_samples=3, estimator="guide")
    assert torch.allclose(result.log_prob, truth.double(), atol=1e-5)


def test_one_mask_is_the_same_around_a_site_and_inside():
    def model(x, known):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(D), 1.0).to_event(1).mask(known))
            pyro.sample("x", dist.Normal(torch.where(known[:, None], z, 0.0), 1.0).to_event(1), obs=x)

    def guide(x, known):
        with pyro.plate("data", len(x), dim=-1), poutine.mask(mask=known):
            pyro.sample("z", dist.Normal(x / 2, 0.5**0.5).to_event(1))

    x, known = torch.randn(N, D), torch.arange(N) % 2 == 0
    truth = torch.where(known[:, None], dist.Normal(0.0, 2**0.5).log_prob(x), dist.Normal(0.0, 1.0).log_prob(x)).sum(-1)
    result = log_marginal(model, guide, (x, known), num_samples=3, estimator="guide")
    assert torch.allclose(result.log_prob, truth.double(), atol=1e-5)


@pytest.mark.parametrize("inside", [True, False])
@pytest.mark.parametrize("use", ["log_marginal", "from the guide"])
def test_a_mask_of_the_model_alone_is_refused_however_late_it_leaves_something_out(use, inside):
    def model(x):
        known = torch.arange(D) < 1 + (x[:, :1] < 5)
        with pyro.plate("data", len(x), dim=-1):
            if inside:
                z = pyro.sample("z", dist.Normal(torch.zeros(D), 1.0).mask(known).to_event(1))
            else:
                with poutine.mask(mask=known.all(1)):
                    z = pyro.sample("z", standard())
                    z = torch.where(known.all(1, keepdim=True), z, 0.0)
            pyro.sample("x", dist.Normal(torch.where(known, z, 0.0), 1.0).to_event(1), obs=x)

    x = torch.zeros(N, D)
    x[-1] = 6.0
    with pytest.raises(ValueError, match=MASKED):
        USES[use](model, Pair().guide, x)
