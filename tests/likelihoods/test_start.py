"""Where training starts: at zero features the mean of a likelihood is that of the training data."""

import inspect

import pytest
import torch
from examples import JOINT_LIKELIHOODS, LIKELIHOODS

import pyro_vae
from pyro_vae import Categorical, DiscretizedLogistic, Likelihood, VonMises
from pyro_vae.pairs.supports import of_one_value, words_and_cure
from pyro_vae.runs import parts as settings

ALL = {name: (make, (2, 3)) for name, make in LIKELIHOODS.items()} | JOINT_LIKELIHOODS
STARTED = {name: found for name, found in ALL.items() if not name.startswith(("VonMises", "Masked", "PixelCNN"))}


def mean_image(likelihood):
    """A mean of data that this likelihood takes, and what is to be expected of it: at its bounds, moved inside."""
    mean = torch.rand(likelihood.event_shape)
    low, high = 1e-3, 1 - 1e-3
    flat = mean.view(-1)
    flat[0], flat[1] = 0.0, 1.0
    match getattr(likelihood, "data", words_and_cure(of_one_value(likelihood.support))[0]):
        case "one-hot":
            frequencies = mean.clamp(0.01, 0.9) / mean.clamp(0.01, 0.9).sum(-1, keepdim=True)
            return frequencies, frequencies
        case "counts":
            return 6 * mean, 6 * mean.clamp(low, high)
        case text if text.startswith("counts"):
            mean[..., -1:] = 700.0
            return mean, mean.clamp(min=low)
        case "Real()":
            flat[0] = -700.0
            return mean, mean
    return mean, mean.clamp(low, high)


@pytest.mark.parametrize("name", STARTED)
def test_zero_features_have_the_mean_of_the_data(name):
    make, event_shape = STARTED[name]
    mean, expected = mean_image(make(event_shape))
    likelihood = make(event_shape, mean=mean)
    px = likelihood(torch.zeros(5, *likelihood.feature_shape))
    torch.testing.assert_close(px.mean, expected.expand(5, *event_shape), rtol=1e-3, atol=1e-5)
    plain = make(event_shape)
    assert not torch.allclose(plain(torch.zeros(5, *plain.feature_shape)).mean, px.mean, rtol=0.1)
    assert len(list(plain.parameters())) == len(list(likelihood.parameters()))  # a start, nothing more to train
    plain.load_state_dict(likelihood.state_dict())  # which belongs to the weights
    torch.testing.assert_close(plain(torch.zeros(5, *plain.feature_shape)).mean, px.mean)


def test_every_likelihood_takes_a_mean_or_says_why_not():
    members = [getattr(pyro_vae, name) for name in settings.short_names("likelihood")]
    without = [member for member in members if "mean" not in inspect.signature(member).parameters]
    assert without == [VonMises]
    assert "takes no mean" in " ".join(inspect.getdoc(VonMises).split())


@pytest.mark.parametrize("name", STARTED)
def test_a_mean_of_another_shape_is_an_error(name):
    make, event_shape = STARTED[name]
    with pytest.raises(ValueError, match=r"Expected mean of shape \(.*\); got \(7, 2\)\."):
        make(event_shape, mean=torch.zeros(7, 2))


def test_black_borders_cost_nothing_at_the_start():
    """A pixel that is always black takes 8 bits from a start at all levels alike; from its mean, almost none."""
    border, zeros = torch.zeros(1), torch.zeros(1)
    for member in (DiscretizedLogistic, Categorical):
        likelihood = member(1, mean=border)
        assert likelihood(torch.zeros(likelihood.feature_shape)).log_prob(zeros) > -0.3


def test_the_flattest_distribution_over_grey_levels():
    """Of all with its mean it has the largest entropy: log-probabilities are linear in the level."""
    likelihood = Categorical(1, levels=9, mean=torch.tensor([0.2]))
    log_prob = likelihood(torch.zeros(9, 1)).log_prob(torch.linspace(0, 1, 9)[:, None])
    torch.testing.assert_close(log_prob.diff(), log_prob.diff()[:1].expand(8))
    assert issubclass(Categorical, Likelihood)
