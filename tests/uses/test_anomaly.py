"""Anomaly scores against closed forms, of a linear-Gaussian pair; areas under curves against scikit-learn."""

import csv
import io
import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from pyro_vae import detect, score
from pyro_vae.plots.roc import roc_figure
from pyro_vae.uses.detection import areas


def pair(scale=1.0, shift=0.0, width=1.0):
    """z ~ N(0, 1), x ~ N(z + shift, scale^2) in each of 3 places, so that log p(x) is that of a Gaussian; the guide is
    the posterior, or wider."""

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([len(x)]))
            pyro.sample("x", dist.Normal(z[..., None] + shift, scale).expand((*z.shape, 3)).to_event(1), obs=x)

    def guide(x):
        precision = 1 + 3 / scale**2
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("z", dist.Normal((x - shift).sum(-1) / scale**2 / precision, width * precision**-0.5))

    return model, guide


def truth(x, scale=1.0, shift=0.0):
    covariance = torch.ones(3, 3).double() + scale**2 * torch.eye(3).double()
    return torch.distributions.MultivariateNormal(torch.full((3,), shift).double(), covariance).log_prob(x.double())


def assert_within(found, name, values):
    """Each data point's score lies within 5 of its standard errors, and so does the mean of all."""
    off, errors = found.scores[name] - values, found.errors[name]
    assert (off.abs() < 5 * errors + 1e-4).all(), name
    assert off.mean().abs() < 5 * errors.square().sum().sqrt() / len(off) + 1e-4, name


X = torch.randn(40, 3, generator=torch.Generator().manual_seed(1)) * 2
REFERENCE = torch.randn(60, 3, generator=torch.Generator().manual_seed(2))
OTHERS = [(1.2, 0.0), (1.0, 0.5)]


@pytest.fixture(scope="module")
def exact():
    """With posteriors for guides nearly all numbers are exact, but those of the ELBO's parts."""
    background = pair(3.0)
    return score(
        *pair(), X, reference=REFERENCE, background=background, others=[pair(*o) for o in OTHERS], num_draws=400
    )


def test_every_score_is_its_closed_form(exact):
    own, usual = truth(X), truth(REFERENCE).mean()
    models = torch.stack([own, *(truth(X, *other) for other in OTHERS)])
    wanted = {
        "negative_log_prob": -own,
        "negative_elbo": -own,
        "typicality": (own - usual).abs(),
        "likelihood_ratio": truth(X, 3.0) - own,
        "negative_waic": models.var(0) - models.mean(0),
    }
    posterior = dist.Normal(X.sum(-1).double() / 4, 0.5)
    rate = torch.distributions.kl_divergence(posterior, dist.Normal(0.0, 1.0)).double()
    for name, values in {**wanted, "rate": rate, "distortion": -own - rate}.items():
        assert exact.scores[name].dtype == torch.float64
        assert_within(exact, name, values)
    assert exact.errors["negative_log_prob"].median() < 1e-6
    assert exact.reference.value == pytest.approx(usual.item(), abs=1e-4)
    spread = truth(REFERENCE).std().item() / math.sqrt(60)  # the usual log p(x) is a mean of so many
    assert exact.errors["typicality"].tolist() == pytest.approx([spread] * 40, rel=0.05)


def test_scores_with_noise_stay_within_their_errors():
    """Guides too wide: WAIC's variance over models is not that of Monte Carlo."""
    wide = [pair(*o, width=1.5) for o in ((1.0, 0.0), *OTHERS)]
    found = score(*wide[0], X, background=pair(3.0, width=1.5), others=wide[1:], num_samples=200, num_draws=400)
    models = torch.stack([truth(X), *(truth(X, *other) for other in OTHERS)])
    wanted = {
        "negative_log_prob": -truth(X),
        "likelihood_ratio": truth(X, 3.0) - truth(X),
        "negative_waic": models.var(0) - models.mean(0),
    }
    elbo = -truth(X) + torch.distributions.kl_divergence(dist.Normal(0.0, 1.5), dist.Normal(0.0, 1.0))
    for name, values in {**wanted, "negative_elbo": elbo}.items():
        assert (found.errors[name] > 1e-4).all()
        assert_within(found, name, values)


def test_the_table_has_a_line_for_each_data_point(exact):
    rows = list(csv.DictReader(io.StringIO(exact.to_csv({"id": range(40)}))))
    assert len(rows) == 40
    assert list(rows[0])[:3] == ["id", "negative_log_prob", "negative_log_prob_error"]
    assert [float(row["typicality"]) for row in rows] == exact.scores["typicality"].tolist()
    assert exact.to_frame()["likelihood_ratio"].tolist() == exact.scores["likelihood_ratio"].tolist()
    assert "negative_waic" in repr(exact)
    assert "40 data points" in exact._repr_html_()


def test_refused_in_a_sentence():
    def counts(x):
        with pyro.plate("data", len(x), dim=-1):
            z = pyro.sample("z", dist.Normal(0.0, 1.0).expand([len(x)]))
            pyro.sample("x", dist.Poisson(z.exp()[..., None].expand((*z.shape, 3))).to_event(1), obs=x.abs().round())

    with pytest.raises(ValueError, match="background to be a model of the same kind of data, a density"):
        score(*pair(), X[:5], background=(counts, pair()[1]), num_samples=100)
    with pytest.raises(ValueError, match="num_draws >= 2"):
        score(*pair(), X, num_draws=1)


def test_areas_are_those_of_scikit_learn():
    """Also with ties, and with data points that a resample leaves out."""
    draws = np.random.default_rng(0)
    labels = draws.random(60) < 0.3
    scores = np.round(draws.normal(size=60) + labels, 1)
    weights = np.stack([np.ones(60, dtype=int), *draws.integers(0, 4, (5, 60))])
    auc, precision = areas(labels, scores, weights)
    for row, a, p in zip(weights, auc, precision, strict=True):
        assert a == pytest.approx(roc_auc_score(labels, scores, sample_weight=row))
        assert p == pytest.approx(average_precision_score(labels, scores, sample_weight=row))


def test_intervals_hold_the_known_area():
    """AUC of N(1, 1) against N(0, 1) is Phi(1 / sqrt 2): of 95% intervals, about as many hold it."""
    known, held = torch.special.ndtr(torch.tensor(0.5**0.5)).item(), 0
    draws = torch.Generator().manual_seed(0)
    anomalous = torch.arange(160) < 60
    for _ in range(60):
        scores = torch.randn(160, generator=draws) + anomalous
        auc = detect({"s": scores}, anomalous, num_resamples=200)["s"].auc
        held += auc.low < known < auc.high
    assert held >= 50  # of 60: fewer than 50 would come once in 1,000 times at 93%


def test_detection_refuses_what_has_no_curve():
    scores = torch.tensor([0.0, 1.0, 2.0, torch.inf])
    with pytest.raises(ValueError, match="at least 2 anomalies and 2 normal data points"):
        detect({"s": scores[:3]}, torch.tensor([True, False, False]))
    with pytest.raises(ValueError, match="'s' is not for 1 of 4"):
        detect({"s": scores}, torch.tensor([True, False, True, False]))
    with pytest.raises(ValueError, match="for each of 4 data points"):
        detect({"s": scores[:3]}, torch.tensor([True, False, True, False]))


def test_the_figure_shows_a_curve_for_each_score(exact):
    anomalous = torch.arange(40) < 20
    found = detect(exact.scores, anomalous, num_resamples=20)
    figure = roc_figure(found, exact.scores["negative_log_prob"], anomalous, label="-log p(x), nats", title="a run")
    curves, histogram = figure.axes
    texts = [text.get_text() for text in curves.get_legend().get_texts()]
    assert texts[0] == f"-log p(x), {found['negative_log_prob'].auc.value:.3f}"
    assert len(curves.lines) == 1 + len(found)
    assert [text.get_text() for text in histogram.get_legend().get_texts()] == ["normal, 20", "anomalies, 20"]
