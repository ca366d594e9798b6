"""Where values of a distribution can be, and pairs whose guide and prior do not live in the same place."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import transforms as T
from pyro.infer import config_enumerate
from torch import nn
from torch.distributions import constraints

from pyro_vae import annealed_log_marginal, fit, log_marginal
from pyro_vae.pairs.supports import is_angle, support_of

SQUASHED = [T.SigmoidTransform(), T.AffineTransform(1.0, torch.tensor([2.0, -2.0]))]


def transformed(*transforms, base=None):
    return dist.TransformedDistribution(dist.Normal(torch.zeros(2), 1.0) if base is None else base, list(transforms))


@pytest.mark.parametrize(
    ("fn", "inside", "outside"),
    [
        (transformed(*SQUASHED), [[1.1, 0.9], [2.9, -0.9]], [[3.1, 0.0], [2.0, 1.1], [0.9, 0.0]]),
        (transformed(T.ComposeTransform(SQUASHED)), [[2.9, -0.9]], [[3.1, 0.0]]),
        (transformed(*SQUASHED).to_event(1), [[2.9, -0.9]], [[3.1, 0.0], [2.0, 1.1]]),
        (transformed(*SQUASHED).mask(torch.tensor(True)), [[2.9, -0.9]], [[3.1, 0.0]]),
        (transformed(*SQUASHED, base=dist.Normal(torch.zeros(2), 1.0).to_event(1)), [[2.9, -0.9]], [[3.1, 0.0]]),
        (transformed(T.TanhTransform(), *[T.AffineTransform(0.0, 2.0)] * 2), [[3.9, -3.9]], [[4.1, 0.0]]),
        (transformed(T.AffineTransform(0.0, 3.0), base=dist.Beta(torch.ones(2), 1.0)), [[2.9, 0.1]], [[3.1, 0.0]]),
        (transformed(T.ExpTransform(), T.AffineTransform(1.0, 2.0)), [[1.1, 99.0]], [[0.9, 2.0]]),
        (transformed(T.ExpTransform(), T.AffineTransform(1.0, -2.0)), [[0.9, -99.0]], [[1.1, 0.0]]),
        (transformed(T.AffineTransform(1.0, 2.0)), [[-99.0, 99.0]], []),
        (transformed(T.AffineTransform(0.0, 2.0), T.ExpTransform()), [[99.0, 0.1]], [[-0.1, 1.0]]),
    ],
)
def test_what_is_squashed_and_scaled_has_bounds(fn, inside, outside):
    support = support_of(fn)
    draws = fn.sample((1000,))
    assert support.check(draws).all()
    assert support.event_dim == fn.event_dim
    for values, wanted in ((inside, True), (outside, False)):
        for value in torch.tensor(values):
            assert support.check(value).all() == wanted


def test_scales_of_both_signs_leave_no_half_line():
    fn = transformed(T.ExpTransform(), T.AffineTransform(0.0, torch.tensor([1.0, -1.0])))
    assert support_of(fn) is constraints.real


def test_angles_are_found_inside():
    assert is_angle(transformed(T.AffineTransform(1.0, 1.0), base=dist.VonMises(torch.zeros(2), 1.0)))
    assert is_angle(dist.VonMises(torch.zeros(2), 1.0).to_event(1))
    assert not is_angle(dist.Uniform(-torch.ones(2), 1.0))


def pair_of(prior, guide):
    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", prior)
            pyro.sample("x", dist.Normal(z, 1.0), obs=x)

    loc = nn.Parameter(torch.zeros(1))

    def of(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", guide(pyro.module("q", nn.ParameterList([loc]))[0].expand(len(x))))

    return model, of


def train(model, guide, x):
    return fit(model, guide, x, epochs=1, progress=False)


@pytest.mark.parametrize("squash", [T.TanhTransform(), T.SigmoidTransform()])
def test_a_guide_between_bounds_does_not_reach_all_numbers(squash):
    def guide(loc):
        return dist.TransformedDistribution(dist.Normal(loc, 1.0), [squash, T.AffineTransform(0.0, 1.2)])

    pair = pair_of(dist.Normal(0.0, 1.0), guide)
    for use in (log_marginal, annealed_log_marginal):
        with pytest.raises(ValueError, match=r"to reach all of the support of its prior, Real\(\)"):
            use(*pair, torch.zeros(3))


def test_a_prior_between_bounds_takes_a_guide_between_them():
    def bounded(loc):
        return dist.TransformedDistribution(dist.Normal(loc, 1.0), [T.SigmoidTransform(), T.AffineTransform(0.0, 2.0)])

    prior, x = bounded(torch.zeros(())), torch.tensor([-1.0, 0.5, 3.0])
    z = torch.linspace(0, 2, 20_001)[1:-1]
    truth = (prior.log_prob(z) + dist.Normal(z, 1.0).log_prob(x[:, None])).logsumexp(1) + torch.tensor(1e-4).log()
    result = log_marginal(*pair_of(prior, bounded), x)
    assert ((result.log_prob - truth) / (result.standard_error + 1e-4)).abs().max() < 5
    for use in (train, log_marginal):
        with pytest.raises(ValueError, match=r"support of its prior, Interval\(.*; got Real\(\)"):
            use(*pair_of(prior, lambda loc: dist.Normal(loc, 1.0)), x)


@pytest.mark.parametrize("use", [train, log_marginal])
@pytest.mark.parametrize("angles", ["guide", "prior"])
def test_angles_in_one_of_prior_and_guide(use, angles):
    def angle(loc):
        return dist.VonMises(loc, 1.0)

    def number(loc):
        return dist.Normal(loc, 3.0)

    prior, guide = (number, angle) if angles == "guide" else (angle, number)
    with pytest.raises(ValueError, match=f"got them in the {angles} alone"):
        use(*pair_of(prior(torch.zeros(())), guide), torch.zeros(3))
    train(*pair_of(angle(torch.zeros(())), angle), torch.zeros(3))
    train(*pair_of(dist.Uniform(-torch.pi, torch.pi), angle), torch.zeros(3))


@pytest.mark.parametrize("mark", [lambda f: f, config_enumerate])
def test_a_guide_with_more_categories_is_refused_whatever_it_draws(mark):
    def never_the_last(a):
        return dist.Categorical(logits=torch.stack([a, a, a - 50], -1))

    model, guide = map(mark, pair_of(dist.Categorical(torch.ones(2)), never_the_last))
    with pytest.raises(
        ValueError, match=r"(?s)\AExpected [^\n]*IntegerInterval\(lower_bound=0, upper_bound=1\)[^\n]*\Z"
    ):
        train(model, guide, torch.zeros(3))


@pytest.mark.parametrize("of", [{"logits": [0.0, -torch.inf]}, {"probs": [1.0, 0.0]}, {"logits": [0.0, -200.0]}])
def test_a_guide_that_never_draws_a_category(of):
    """A category that the guide rules out is missing from every sum; one that is hardly ever drawn is its guide's."""
    [(argument, values)], x = of.items(), torch.zeros(3)

    def guide(loc):
        return dist.Categorical(**{argument: torch.tensor(values).expand(len(loc), 2)})

    pair = pair_of(dist.Categorical(torch.ones(2)), guide)
    if values[1] == -200:
        log_marginal(*pair, x, num_samples=2)
    else:
        with pytest.raises(ValueError, match=r"gives some of that probability 0\."):
            log_marginal(*pair, x)
    enumerated = log_marginal(*map(config_enumerate, pair), x)
    truth = dist.Normal(torch.tensor([0.0, 1.0]), 1.0).log_prob(torch.zeros(())).logsumexp(0) - torch.tensor(2.0).log()
    torch.testing.assert_close(enumerated.log_prob.float(), truth.expand(3))
