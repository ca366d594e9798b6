"""Models as Pyro's examples write them, taken through `fit`, `log_marginal` and `compare` as they are.

Written anew from what the examples of pyro-ppl do, small: the VAE, the conditional VAE, the semi-supervised M2 (Kingma
and others 2014), the deep Markov model (Krishnan, Shalit, Sontag 2017) and the count model of scANVI (Xu and others
2021), its labels given, for all of the cells or for some.
"""

import functools
import os
from pathlib import Path

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import scipy.sparse
import torch
from pyro import poutine
from pyro.infer import config_enumerate
from torch import nn
from torch.distributions import constraints
from torch.nn.functional import softplus
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from pyro_vae import adam, compare, data, fit, log_marginal

FOLDER = Path(os.environ.get("PYRO_VAE_DATA", Path(__file__).parents[3] / "shared" / "data"))

pytestmark = pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")


def assert_training_helps(model, guide, inputs, *, trained=None, epochs=20, rate=1e-2):
    """What a user adds to a pair: log p(x) before and after training, compared."""
    settings = {"num_samples": 20, "estimator": "guide"}
    before = log_marginal(model, guide, inputs, **settings)
    result = fit(
        *(trained or (model, guide)), inputs, epochs=epochs, batch_size=20, optimizer=adam(rate), progress=False,
        compile=False,
    )  # fmt: skip
    after = log_marginal(*((model, guide) if trained else (result.model, result.guide)), inputs, **settings)
    comparison = compare({"after": [after], "before": [before]})
    assert comparison.differences["after", "before"].low > 0
    return after


def normal(features):
    loc, scale = features.chunk(2, -1)
    return dist.Normal(loc, softplus(scale) + 1e-3)


class TutorialVAE(nn.Module):
    """Modules announced by name, a plate whose dimension is left to Pyro, images flattened inside."""

    def __init__(self, size=64, z_dim=4, hidden=20):
        super().__init__()
        self.z_dim, self.size = z_dim, size
        self.encoder = nn.Sequential(nn.Linear(size, hidden), nn.Softplus(), nn.Linear(hidden, 2 * z_dim))
        self.decoder = nn.Sequential(nn.Linear(z_dim, hidden), nn.Softplus(), nn.Linear(hidden, size), nn.Sigmoid())

    def model(self, x):
        pyro.module("decoder", self.decoder)
        with pyro.plate("data", x.shape[0]):
            z_loc, z_scale = x.new_zeros(x.shape[0], self.z_dim), x.new_ones(x.shape[0], self.z_dim)
            z = pyro.sample("latent", dist.Normal(z_loc, z_scale).to_event(1))
            probs = self.decoder(z)
            pyro.sample("obs", dist.Bernoulli(probs, validate_args=False).to_event(1), obs=x.reshape(-1, self.size))
            return probs

    def guide(self, x):
        pyro.module("encoder", self.encoder)
        with pyro.plate("data", x.shape[0]):
            pyro.sample("latent", normal(self.encoder(x.reshape(-1, self.size))).to_event(1))


@pytest.fixture(scope="module")
def digits():
    return (data.load("digits").train[:100] > 0.5).float()


def test_vae(digits):
    vae = TutorialVAE()
    after = assert_training_helps(vae.model, vae.guide, digits)
    assert (after.sites, after.measure) == ({"obs": 64}, "probability")


class TutorialCVAE(nn.Module):
    """Three quarters of an image given the fourth: a plate without a size, and only the missing pixels observed."""

    def __init__(self, size=64, z_dim=3, hidden=20):
        super().__init__()
        self.baseline = nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, size), nn.Sigmoid())
        self.prior_net = nn.Sequential(nn.Linear(2 * size, hidden), nn.ReLU(), nn.Linear(hidden, 2 * z_dim))
        self.recognition = nn.Sequential(nn.Linear(2 * size, hidden), nn.ReLU(), nn.Linear(hidden, 2 * z_dim))
        self.generation = nn.Sequential(nn.Linear(z_dim, hidden), nn.ReLU(), nn.Linear(hidden, size), nn.Sigmoid())
        self.baseline.requires_grad_(False)

    def model(self, xs, ys=None):
        pyro.module("generation_net", self)
        with pyro.plate("data"):
            with torch.no_grad():
                y_hat = self.baseline(xs.flatten(1))
            prior = normal(self.prior_net(torch.cat([xs.flatten(1), y_hat], 1)))
            loc = self.generation(pyro.sample("z", prior.to_event(1)))
            if ys is None:
                pyro.deterministic("y", loc.detach())
            else:
                missing = (xs == -1).flatten(1)
                masked_loc = loc[missing].view(len(xs), -1)
                masked_ys = ys.flatten(1)[missing].view(len(xs), -1)
                pyro.sample("y", dist.Bernoulli(masked_loc, validate_args=False).to_event(1), obs=masked_ys)
            return loc

    def guide(self, xs, ys=None):
        with pyro.plate("data"):
            seen = self.baseline(xs.flatten(1)) if ys is None else ys.flatten(1)
            pyro.sample("z", normal(self.recognition(torch.cat([xs.flatten(1), seen], 1))).to_event(1))


@pytest.mark.filterwarnings("ignore:baseline.* was not registered in the param store")  # Pyro's, of what is frozen
def test_conditional_vae(digits):
    given = torch.full_like(digits, -1.0)
    given[..., :4, :4] = digits[..., :4, :4]
    cvae = TutorialCVAE()
    after = assert_training_helps(cvae.model, cvae.guide, {"xs": given, "ys": digits})
    assert after.sites == {"y": 48}
    with pytest.raises(ValueError, match="Expected a model that observes the data"):
        log_marginal(cvae.model, cvae.guide, given)


def side_by_side(*values):
    """Concatenated, with the dimension that an enumerated label brings."""
    shape = torch.broadcast_shapes(*(value.shape[:-1] for value in values))
    return torch.cat([value.expand(*shape, -1) for value in values], -1)


class TutorialM2(nn.Module):
    """Labels that are observed where they are given, and drawn by the guide, summed over, where they are not."""

    def __init__(self, size=64, classes=10, z_dim=4, hidden=20):
        super().__init__()
        self.size, self.classes, self.z_dim = size, classes, z_dim
        self.encoder_y = nn.Sequential(nn.Linear(size, hidden), nn.Softplus(), nn.Linear(hidden, classes))
        self.encoder_z = nn.Sequential(nn.Linear(size + classes, hidden), nn.Softplus(), nn.Linear(hidden, 2 * z_dim))
        self.decoder = nn.Sequential(nn.Linear(z_dim + classes, hidden), nn.Softplus(), nn.Linear(hidden, size))

    def model(self, xs, ys=None):
        pyro.module("ss_vae", self)
        xs = xs.flatten(1)
        with pyro.plate("data", len(xs)):
            zs = pyro.sample("z", dist.Normal(xs.new_zeros(len(xs), self.z_dim), 1.0).to_event(1))
            prior = xs.new_ones(len(xs), self.classes) / self.classes
            ys = pyro.sample("y", dist.OneHotCategorical(prior), obs=ys)
            pyro.sample("x", dist.Bernoulli(logits=self.decoder(side_by_side(zs, ys))).to_event(1), obs=xs)

    def guide(self, xs, ys=None):
        xs = xs.flatten(1)
        with pyro.plate("data", len(xs)):
            if ys is None:
                ys = pyro.sample("y", dist.OneHotCategorical(logits=self.encoder_y(xs)))
            pyro.sample("z", normal(self.encoder_z(side_by_side(xs, ys))).to_event(1))


def test_semi_supervised_m2(digits):
    labels = torch.nn.functional.one_hot(data.load("digits").labels.train[:100], 10).float()
    vae = TutorialM2()
    guide = config_enumerate(vae.guide, "parallel", expand=True)
    assert_training_helps(vae.model, vae.guide, (digits, labels))
    joint = log_marginal(vae.model, vae.guide, (digits, labels), num_samples=200, estimator="guide")
    alone = log_marginal(vae.model, guide, digits, num_samples=200, estimator="guide")
    assert ([*joint.sites], [*alone.sites]) == (["y", "x"], ["x"])
    fresh = TutorialM2()
    assert_training_helps(fresh.model, config_enumerate(fresh.guide, "parallel", expand=True), digits)


class TutorialDMM(nn.Module):
    """A sequence of latents, with masks and a KL weight among the arguments; a recurrent network reads backwards."""

    def __init__(self, keys=88, z_dim=4, hidden=12):
        super().__init__()
        self.emitter = nn.Sequential(nn.Linear(z_dim, hidden), nn.ReLU(), nn.Linear(hidden, keys), nn.Sigmoid())
        self.transition = nn.Sequential(nn.Linear(z_dim, hidden), nn.ReLU(), nn.Linear(hidden, 2 * z_dim))
        self.rnn = nn.RNN(keys, hidden, batch_first=True)
        self.combiner = nn.Sequential(nn.Linear(z_dim + hidden, hidden), nn.Tanh(), nn.Linear(hidden, 2 * z_dim))
        self.z_0, self.z_q_0 = nn.Parameter(torch.zeros(z_dim)), nn.Parameter(torch.zeros(z_dim))
        self.h_0 = nn.Parameter(torch.zeros(1, 1, hidden))

    def model(self, x, x_reversed, mask, lengths, annealing_factor=1.0):
        pyro.module("dmm", self)
        z = self.z_0.expand(len(x), -1)
        with pyro.plate("z_minibatch", len(x)):
            for t in pyro.markov(range(1, x.size(1) + 1)):
                counts = mask[:, t - 1 : t]
                with poutine.scale(scale=annealing_factor):
                    z = pyro.sample(f"z_{t}", normal(self.transition(z)).mask(counts).to_event(1))
                law = dist.Bernoulli(self.emitter(z)).mask(counts).to_event(1)
                pyro.sample(f"obs_x_{t}", law, obs=x[:, t - 1])

    def guide(self, x, x_reversed, mask, lengths, annealing_factor=1.0):
        pyro.module("dmm", self)
        packed = pack_padded_sequence(x_reversed, lengths.cpu(), batch_first=True, enforce_sorted=False)
        hidden = self.h_0.expand(1, len(x), -1).contiguous()
        h, _ = pad_packed_sequence(self.rnn(packed, hidden)[0], batch_first=True, total_length=x.size(1))
        h = backwards(h, lengths)
        z = self.z_q_0.expand(len(x), -1)
        with pyro.plate("z_minibatch", len(x)):
            for t in pyro.markov(range(1, x.size(1) + 1)):
                before = h[:, t - 1].expand(*z.shape[:-1], -1)
                with poutine.scale(scale=annealing_factor):
                    law = normal(self.combiner(torch.cat([z, before], -1)))
                    z = pyro.sample(f"z_{t}", law.mask(mask[:, t - 1 : t]).to_event(1))


def backwards(x, lengths):
    """Sequences (B, T, ...) with their first `lengths` steps in reverse order."""
    steps = torch.arange(x.size(1))
    order = torch.where(steps < lengths[:, None], lengths[:, None] - 1 - steps, steps)
    return x.gather(1, order[..., None].expand_as(x))


@pytest.fixture(scope="module")
def chorales():
    """Sequences of different lengths, at most 6 steps here, with what the deep Markov model asks for."""
    path = FOLDER / "JSB" / "jsb_chorales.npz"
    if not path.exists():
        pytest.skip(f"no {path}: the folder that PYRO_VAE_DATA names")
    x = torch.tensor(np.load(path)["train"][:40, :6]).float()
    lengths = torch.arange(40) % 4 + 3
    mask = (torch.arange(6) < lengths[:, None]).float()
    return x, backwards(x, lengths), mask.bool(), lengths


def test_deep_markov_model(chorales):
    dmm = TutorialDMM()
    annealed = [functools.partial(half, annealing_factor=0.5) for half in (dmm.model, dmm.guide)]
    after = assert_training_helps(dmm.model, dmm.guide, chorales, trained=annealed)
    weighted = log_marginal(*annealed, chorales, num_samples=20, estimator="guide")
    assert torch.equal(weighted.log_prob, after.log_prob)  # the KL weight trains, and does not count
    x, _, mask, lengths = chorales
    padded = torch.where(mask[..., None], x, 1 - x)
    other = log_marginal(dmm.model, dmm.guide, (padded, backwards(padded, lengths), mask, lengths), num_samples=500)
    same = log_marginal(dmm.model, dmm.guide, chorales, num_samples=500)
    errors = torch.hypot(other.standard_error, same.standard_error)
    assert ((other.log_prob - same.log_prob).abs() < 5 * errors).all()  # the padding does not count either


class TutorialSCANVI(nn.Module):
    """Counts of genes from a latent, itself from another and a label; a library size; dispersions of `pyro.param`.

    Where labels are given, the guide has a classifier's loss as a factor; where not, it draws them.
    """

    def __init__(self, genes, library, labels=2, z_dim=3, hidden=12, alpha=0.1):
        super().__init__()
        self.alpha = alpha
        self.classifier = nn.Sequential(nn.Linear(z_dim, hidden), nn.ReLU(), nn.Linear(hidden, labels))
        self.genes, self.labels, self.z_dim, self.library = genes, labels, z_dim, library
        self.z2_decoder = nn.Sequential(nn.Linear(z_dim + labels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * z_dim))
        self.x_decoder = nn.Sequential(nn.Linear(z_dim, hidden), nn.ReLU(), nn.Linear(hidden, 2 * genes))
        self.z2l_encoder = nn.Sequential(nn.Linear(genes, hidden), nn.ReLU(), nn.Linear(hidden, 2 * z_dim + 2))
        self.z1_encoder = nn.Sequential(nn.Linear(z_dim + labels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * z_dim))

    def model(self, x, y=None):
        pyro.module("scanvi", self)
        theta = pyro.param("inverse_dispersion", 10.0 * x.new_ones(self.genes), constraint=constraints.positive)
        with pyro.plate("batch", len(x)):
            z1 = pyro.sample("z1", dist.Normal(0, x.new_ones(self.z_dim)).to_event(1))
            y = pyro.sample("y", dist.OneHotCategorical(logits=x.new_zeros(self.labels)), obs=y)
            z2 = pyro.sample("z2", normal(self.z2_decoder(side_by_side(z1, y))).to_event(1))
            size = pyro.sample("l", dist.LogNormal(self.library, 0.5 * x.new_ones(1)).to_event(1))
            gate_logits, mu = self.x_decoder(z2).chunk(2, -1)
            logits = (size * mu.softmax(-1) + 1e-6).log() - (theta + 1e-6).log()
            law = dist.ZeroInflatedNegativeBinomial(gate_logits=gate_logits, total_count=theta, logits=logits)
            pyro.sample("x", law.to_event(1), obs=x)

    def guide(self, x, y=None):
        pyro.module("scanvi", self)
        with pyro.plate("batch", len(x)):
            features = self.z2l_encoder((x + 1).log())
            z2 = pyro.sample("z2", normal(features[..., : 2 * self.z_dim]).to_event(1))
            size = normal(features[..., 2 * self.z_dim :])
            pyro.sample("l", dist.LogNormal(self.library + size.loc, size.scale).to_event(1))
            y_law = dist.OneHotCategorical(logits=self.classifier(z2))
            if y is None:
                y = pyro.sample("y", y_law)
            else:
                pyro.factor("classification_loss", -self.alpha * y_law.log_prob(y), has_rsample=False)
            pyro.sample("z1", normal(self.z1_encoder(side_by_side(z2, y))).to_event(1))


@pytest.fixture(scope="module")
def cells():
    """Counts of 30 genes in 60 cells, two labels and the mean log size of a cell."""
    path = FOLDER / "cells" / "cells.npz"
    if not path.exists():
        pytest.skip(f"no {path}: the folder that PYRO_VAE_DATA names")
    parts = np.load(path)
    cells = scipy.sparse.csr_matrix((parts["data"], parts["indices"], parts["indptr"]), shape=parts["shape"])
    counts = torch.tensor(cells[:60].toarray()).float()
    counts = counts[:, counts.sum(0).argsort(descending=True)[:30]]
    sizes = counts.sum(1)
    labels = nn.functional.one_hot((sizes > sizes.median()).long()).float()
    return counts, labels, sizes.log().mean()


INITIAL = pytest.mark.filterwarnings("ignore:The parameters .'inverse_dispersion'. .* took their initial values")


@INITIAL
def test_counts_of_cells(cells):
    counts, labels, size = cells
    pair = TutorialSCANVI(30, size)
    after = assert_training_helps(pair.model, pair.guide, (counts, labels), epochs=10)
    assert (set(after.sites), after.measure) == ({"x", "y"}, "probability")
    given = log_marginal(
        pair.model, pair.guide, (counts, labels), given=["y"], num_samples=100, estimator="guide", only=range(5)
    )
    assert given.quantity == "log p(x | y)"


class SomeLabelled:
    """Batches of cells, every other one without labels."""

    def __init__(self, counts, labels):
        self.batches = [
            (x, y if i % 2 else None) for i, (x, y) in enumerate(zip(counts.split(20), labels.split(20), strict=True))
        ]

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


@INITIAL
def test_cells_of_which_some_have_labels(cells):
    counts, labels, size = cells
    pair = TutorialSCANVI(30, size)
    guide = config_enumerate(pair.guide, "parallel", expand=True)
    few = {"num_samples": 100, "only": range(6)}
    before = log_marginal(pair.model, guide, counts, **few)
    result = fit(
        pair.model, guide, SomeLabelled(counts, labels), epochs=10, optimizer=adam(1e-2), progress=False
    )  # sums over y where it is not given
    alone = log_marginal(result.model, result.guide, counts, **few)
    assert alone.sites == {"x": 30}
    assert compare({"after": [alone], "before": [before]}).differences["after", "before"].low > 0
    each = [
        log_marginal(result.model, result.guide, (counts, label.expand(60, -1)), **few) for label in torch.eye(2)
    ]  # p(x) = sum over y of p(x, y)
    assert set(each[0].sites) == {"x", "y"}
    errors = torch.stack([alone.standard_error, *(term.standard_error for term in each)]).norm(dim=0)
    assert ((torch.stack([term.log_prob for term in each]).logsumexp(0) - alone.log_prob).abs() < 5 * errors).all()
    pair.alpha = 50.0  # the classifier's loss trains, and does not count
    again = log_marginal(result.model, result.guide, (counts, torch.eye(2)[0].expand(60, -1)), **few)
    assert torch.equal(again.log_prob, each[0].log_prob)
