"""A trained pair in scikit-learn: its own checks of transformers, and codes that are those of `encode`."""

import warnings

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from examples import LinearGaussian, small_mlp
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import check_estimator

from pyro_vae import IAF, MLP, VAE, Bernoulli, GaussianEncoder, LatentFeatures, StandardNormal, encode


def model(x):
    """Takes data of any width, as the checks of scikit-learn have them."""
    with pyro.plate("data", len(x), dim=-1):
        z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        pyro.sample("x", dist.Normal(z.sum(-1, keepdim=True), torch.ones(x.shape[-1])).to_event(1), obs=x.float())


def guide(x):
    with pyro.plate("data", len(x), dim=-1):
        loc = torch.stack([x.float().mean(-1), x[:, 0].float()], -1)
        pyro.sample("z", dist.Normal(loc, 0.5).to_event(1))


def checked(features):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what scikit-learn skips, it warns of
        return check_estimator(features, on_fail=None)


def test_it_passes_the_checks_of_scikit_learn():
    results = checked(LatentFeatures((model, guide)))
    assert len(results) > 40
    assert [(found["check_name"], found["exception"]) for found in results if found["status"] == "failed"] == []


def test_a_pair_of_one_shape_fails_them_only_on_data_of_another():
    vae = VAE(StandardNormal(2), GaussianEncoder(64, 2), MLP(2, 64), Bernoulli(64))
    failed = [found["exception"] for found in checked(LatentFeatures(vae)) if found["status"] == "failed"]
    for error in failed:
        texts = f"{error} {error.__context__}"
        assert "Expected X with data points of shape (64,), or flat ones of 64 values, as the pair takes them" in texts
    assert failed


def test_features_are_codes_in_a_pipeline():
    linear = LinearGaussian()
    x = torch.randn(60, 5)
    features = LatentFeatures(linear, scales=True, batch_size=7).set_output(transform="pandas")
    table = features.fit_transform(x.double().numpy())
    assert list(table) == ["z_mean_0", "z_mean_1", "z_scale_0", "z_scale_1"]
    assert set(table.dtypes) == {np.dtype("float64")}
    posterior = linear.posterior(x)
    np.testing.assert_allclose(table.iloc[:, :2], posterior.mean.detach(), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(table.iloc[:, 2:], posterior.stddev.detach().expand(60, -1), rtol=1e-4)
    y = posterior.mean[:, 0].detach().numpy()
    scores = cross_val_score(make_pipeline(LatentFeatures(linear), LinearRegression()), x.numpy(), y, cv=3)
    assert scores.min() > 0.999  # a linear function of the codes
    assert clone(features).pair is linear


def test_images_come_flat_or_as_they_are():
    encoder = GaussianEncoder((1, 4, 3), 2, network=small_mlp)
    vae = VAE(StandardNormal(2), encoder, small_mlp(2, (1, 4, 3)), Bernoulli((1, 4, 3)))
    x = torch.rand(9, 1, 4, 3).round()
    expected = encode(vae.model, vae.guide, x)["z"].numpy()
    for given in (x.numpy(), x.flatten(1).numpy()):
        found = LatentFeatures(vae).fit(given).transform(given)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    own = LatentFeatures((vae.model, vae.guide), event_shape=(1, 4, 3)).fit(x.flatten(1).numpy())
    np.testing.assert_allclose(own.transform(x.flatten(1).numpy()), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "x", "text"),
    [
        ({}, np.full((3, 6), 0.5), r"Expected data in the support of site 'x', 0 or 1; got values such as 0\.5"),
        ({"scales": True}, np.ones((3, 6)), r"Expected q with a scale in closed form at 'z'; got none"),
        ({"batch_size": 0}, np.ones((3, 6)), r"Expected batch_size >= 1; got 0"),
        ({}, np.ones((3, 7)), r"Expected X with data points of shape \(6,\), or flat ones of 6 values"),
        ({"event_shape": (2, 2)}, np.ones((3, 6)), r"Expected X with data points of shape \(2, 2\)"),
    ],
)
def test_what_has_no_features_is_said(options, x, text):
    vae = VAE(StandardNormal(2), IAF(6, 2, network=small_mlp, num_transforms=1), small_mlp(2, 6), Bernoulli(6))
    with pytest.raises(ValueError, match=text):
        LatentFeatures(vae, **options).fit(x)


def test_values_are_looked_at_in_all_rows():
    vae = VAE(StandardNormal(2), GaussianEncoder(6, 2), MLP(2, 6), Bernoulli(6))
    features, x = LatentFeatures(vae).fit(np.ones((3, 6))), np.ones((9, 6))
    x[8, 5] = 7
    with pytest.raises(ValueError, match=r"Expected data in the support of site 'x'"):
        features.transform(x)
