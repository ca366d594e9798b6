"""What goes wrong most often in a model of one's own is answered in a sentence with its cure, wherever it is used."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from torch import nn

from pyro_vae import annealed_log_marginal, encode, fit, log_marginal, sample


class Pair(nn.Module):
    """Two latents and eight binary values; the mistakes are made by what is given instead of its parts."""

    def __init__(self, prior=None, likelihood=None, posterior=None, obs=True):
        super().__init__()
        self.encoder, self.decoder, self.obs = nn.Linear(8, 4), nn.Linear(2, 8), obs
        self.prior = prior or (lambda: dist.Normal(torch.zeros(2), 1.0).to_event(1))
        self.likelihood = likelihood or (lambda h: dist.Bernoulli(logits=h).to_event(1))
        self.posterior = posterior or (lambda loc, scale: dist.Normal(loc, scale).to_event(1))

    def model(self, x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", self.prior())
            pyro.sample("x", self.likelihood(self.decoder(z[..., :2])), obs=x if self.obs else None)

    def guide(self, x):
        loc, log_scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", self.posterior(loc, log_scale.exp()))


class TwoSites(Pair):
    def guide(self, x):
        super().guide(x)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(torch.zeros(len(x)), 1.0))


X = (torch.arange(64 * 8).view(64, 8) % 3 == 0).float()
EVENT = r"Dimensions of one data point belong to the event of its distribution: add \.to_event\(1\)"
DIMENSIONS = "Expected as many dimensions of site 'z' in the guide as in the model"
MISTAKES = {
    "x without to_event": (Pair(likelihood=lambda h: dist.Bernoulli(logits=h)), f"at site 'x'; got 8. {EVENT}"),
    "prior without to_event": (Pair(prior=lambda: dist.Normal(torch.zeros(2), 1.0)), f"at site 'z'; got 2. {EVENT}"),
    "guide without to_event": (Pair(posterior=lambda m, s: dist.Normal(m, s)), f"at site 'z'; got 2. {EVENT}"),
    "no obs": (Pair(obs=False), r"got site \'x\' without obs=\. Write pyro\.sample\('x', \.\.\., obs=x\)"),
    "prior of 7": (Pair(prior=lambda: dist.Normal(torch.zeros(7), 1.0).to_event(1)), DIMENSIONS),
    "scalar prior": (Pair(prior=lambda: dist.Normal(0.0, 1.0)), rf"{DIMENSIONS}, .* \.expand\(\[D\]\)\.to_event\(1\)"),
    "a site twice": (TwoSites(), r"got two of the name 'z'\. .* give each site a name of its own"),
    "negative scale": (
        Pair(likelihood=lambda h: dist.Normal(h, -1.0).to_event(1)),
        r"Expected scale of a Normal to satisfy .* by \.exp\(\) or torch\.nn\.functional\.softplus",
    ),
}


@pytest.mark.parametrize(("pair", "text"), MISTAKES.values(), ids=MISTAKES)
@pytest.mark.parametrize(
    "use",
    [
        lambda pair: fit(pair.model, pair.guide, X, epochs=1, progress=False),
        lambda pair: log_marginal(pair.model, pair.guide, X[:8], num_samples=5),
    ],
    ids=["fit", "log_marginal"],
)
def test_a_mistake_is_answered_in_a_sentence(pair, text, use):
    with pytest.raises(ValueError, match=text) as error:
        use(pair)
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 400


def test_a_plate_of_all_data_trains_as_one_of_the_batch():
    """As in Pyro's tutorials: the factor of its size would make another objective."""

    class Whole(Pair):
        def model(self, x):
            with pyro.plate("data", 1000, subsample=x, dim=-1):
                z = pyro.sample("z", self.prior())
                pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)

    losses = []
    for kind in (Pair, Whole):
        torch.manual_seed(0)
        pair = kind()
        losses.append(fit(pair.model, pair.guide, X, epochs=2, progress=False).history[-1]["loss"])
    assert losses[0] == losses[1]


class HalfLabelled(Pair):
    """Labels of some data points, by Pyro's obs_mask."""

    def __init__(self, in_guide):
        super().__init__()
        self.in_guide = in_guide

    def model(self, x):
        label = nn.functional.one_hot(x.sum(-1).long() % 3, 3).float()
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", self.prior())
            pyro.sample("y", dist.OneHotCategorical(torch.ones(3) / 3), obs=label, obs_mask=x[:, 0] > 0)
            pyro.sample("x", self.likelihood(self.decoder(z)), obs=x)

    def guide(self, x):
        loc, log_scale = self.encoder(x).chunk(2, -1)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", self.posterior(loc, log_scale.exp()))
            if self.in_guide:
                with poutine.mask(mask=x[:, 0] <= 0):
                    pyro.sample("y_unobserved", dist.OneHotCategorical(torch.ones(3) / 3))


def test_labels_that_a_mask_leaves_out():
    pair = HalfLabelled(in_guide=False)
    cure = (
        r"site 'y_unobserved'; it does not\. Sample it there under the opposite mask: with poutine\.mask\(mask=~mask\)"
    )
    with pytest.raises(ValueError, match=cure):
        fit(pair.model, pair.guide, X, epochs=1, progress=False)
    pair = HalfLabelled(in_guide=True)  # the cure works
    assert fit(pair.model, pair.guide, X, epochs=1, progress=False).history[0]["loss"] > 0


AROUND = {
    "a plate": lambda: pyro.plate("outer", 3, dim=-2),
    "a condition": lambda: poutine.condition(data={"z": torch.zeros(8, 2)}),
    "a mask": lambda: poutine.mask(mask=torch.arange(8) < 4),
    "inference mode": torch.inference_mode,
}


@pytest.mark.parametrize("around", AROUND.values(), ids=AROUND)
@pytest.mark.parametrize(
    "use",
    [
        lambda pair: fit(pair.model, pair.guide, X, epochs=1, progress=False),
        lambda pair: log_marginal(pair.model, pair.guide, X[:8], num_samples=5),
        lambda pair: annealed_log_marginal(pair.model, pair.guide, X[:8], num_chains=2, num_temperatures=2),
        lambda pair: sample(pair.model, X[:8]),
    ],
    ids=["fit", "log_marginal", "annealed_log_marginal", "sample"],
)
def test_what_stands_around_a_call_is_refused(around, use):
    """A plate gave a log p(x) of several copies at once: handlers belong around model or guide."""
    with around(), pytest.raises(RuntimeError, match=r"Expected to be called outside of"):
        use(Pair())


@pytest.mark.parametrize("count", [2, 3, 8])
def test_a_mask_of_single_values_of_an_event(count):
    """As many data points as values of each: the mask's dimension of the event would pass for one of the data."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0))
            with poutine.mask(mask=x > 0):
                pyro.sample("x", dist.Normal(z[..., None] * torch.ones(3), 1.0).to_event(1), obs=x)

    def guide(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x.mean(1), 1.0))

    with pytest.raises(
        ValueError, match=r"Expected a mask with a dimension for each plate .*\.mask\(known\)\.to_event"
    ):
        log_marginal(model, guide, torch.randn(count, 3), num_samples=5)


@pytest.mark.parametrize("use", [log_marginal, lambda *pair: fit(*pair, epochs=1, progress=False)])
def test_a_plate_of_another_size_than_the_batch(use):
    class Sized(Pair):
        def model(self, x):
            with pyro.plate("data", 7, dim=-1):
                z = pyro.sample("z", self.prior())
                pyro.sample("x", self.likelihood(self.decoder(torch.zeros(2)) + 0 * z.mean()), obs=x)

        def guide(self, x):
            with pyro.plate("data", 7, dim=-1):
                pyro.sample("z", self.posterior(torch.zeros(2), torch.ones(2)))

    pair = Sized()
    with pytest.raises(ValueError, match=r"of the size of the batch, [0-9]+; got 'data' of size 7 around site 'z'"):
        use(pair.model, pair.guide, X[:8])


def test_codes_of_sequences_that_are_longer_than_their_padding():
    network = nn.GRU(1, 4, batch_first=True)

    def guide(x, lengths):
        packed = nn.utils.rnn.pack_padded_sequence(x[..., None], lengths, batch_first=True, enforce_sorted=False)
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(network(packed)[1][0][:, :2], 1.0).to_event(1))

    pair, lengths = Pair(), torch.full((64,), 8)
    lengths[40] = 9
    with pytest.raises(ValueError, match="Expected lengths up to that of the padded sequences, 8; got 9"):
        encode(lambda x, lengths: pair.model(x), guide, (X, lengths))


@pytest.mark.parametrize("count", [3, 2000])  # torch prints a part of the second alone
def test_a_logarithm_of_negative_data_is_asked_for(count):
    """What makes the parameters NaN are the data, not the network."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("x", dist.Normal(z, 1.0).to_event(1), obs=x)

    def guide(x):
        scale = pyro.param("scale", torch.ones(2))
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal(x.log1p(), scale).to_event(1))

    x = torch.ones(count, 2)
    x[count // 2, 0] = -2
    said = "got NaN, and data with values such as -2. Is a logarithm or a root of them taken?"
    with pytest.raises(ValueError, match=f"Expected loc of a Normal that is a number; {said}"):
        fit(model, guide, x, epochs=1, batch_size=count, progress=False)
    with pytest.raises(ValueError, match=said):
        log_marginal(model, guide, x, num_samples=2)
