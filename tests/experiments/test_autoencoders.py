"""Autoencoders are pairs like any other, without log p(x); their experiments run, and their results are complete."""

import functools
import json
import math
import runpy
import sys
from pathlib import Path

import pyro
import pyro.distributions as dist
import pytest
import torch
from contracts import assert_gradients_reach_everything, assert_survives_a_file
from examples import NETWORKS, LinearGaussian, patterns, small_mlp, stirred
from pyro.infer import Trace_ELBO
from torch.nn import functional

from pyro_vae import (
    MLP,
    VAE,
    Bernoulli,
    FlatPrior,
    Gaussian,
    GaussianEncoder,
    PointEncoder,
    StandardNormal,
    adam,
    fit,
    log_marginal,
    sample,
)
from pyro_vae.commands.main import main

EXPERIMENTS = Path(__file__).parents[2] / "experiments" / "autoencoders"
NAMES = sorted(path.stem for path in EXPERIMENTS.glob("*.py") if path.stem not in ("family", "frechet", "ground"))
LARGEST = 300_000  # bytes of a figure


def autoencoder(likelihood, *, latent_dim=2, prior=FlatPrior, encoder=PointEncoder, network=small_mlp):
    encoder = encoder(likelihood.event_shape, latent_dim, network=network)
    return VAE(prior(latent_dim), encoder, network(latent_dim, likelihood.feature_shape), likelihood)


# The two parts


def test_a_code_is_a_point_for_each_image_and_particle():
    encoder, x = stirred(PointEncoder((1, 3, 4), 2, network=small_mlp)), torch.randn(4, 5, 1, 3, 4)
    qz = encoder(x)
    assert (qz.batch_shape, qz.event_shape) == ((4, 5), (2,))
    torch.testing.assert_close(qz.rsample()[3, 1], encoder.network(x[3, 1]))
    assert torch.equal(qz.log_prob(qz.rsample()), torch.zeros(4, 5))
    with pyro.plate("particles", 3, dim=-2), pyro.plate("data", 5, dim=-1):
        assert pyro.sample("z", encoder(x[0])).shape == (3, 5, 2)


def test_gradients_reach_the_encoder_and_it_survives_a_file():
    encoder = stirred(PointEncoder(3, 2))
    assert_gradients_reach_everything(encoder, encoder(torch.randn(20, 3)).rsample().square().sum())
    assert_survives_a_file(lambda: stirred(PointEncoder(3, 2)), lambda e: e(torch.ones(1, 3)).mean)


@pytest.mark.parametrize("name", [name for name in NETWORKS if "Decoder" not in name])
def test_the_encoder_takes_any_network(name):
    make, in_shape, _ = NETWORKS[name]
    assert PointEncoder(in_shape, 3, network=make)(torch.randn(5, *in_shape)).event_shape == (3,)


def test_the_flat_prior_prefers_nothing():
    pz = FlatPrior(3)()
    assert (pz.batch_shape, pz.event_shape) == ((), (3,))
    z = 1e3 * torch.randn(4, 5, 3, dtype=torch.float64)
    assert torch.equal(pz.log_prob(z), torch.zeros(4, 5, dtype=torch.float64))
    assert torch.equal(pz.expand([4, 5]).log_prob(z), pz.log_prob(z))
    with pytest.raises(ValueError, match="got FlatPrior, which is no distribution"):
        pz.expand([4]).sample()
    assert repr(FlatPrior(3)) == "FlatPrior(dim=3)"


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: FlatPrior(0), r"dim >= 1; got 0\."),
        (lambda: PointEncoder(3, 0), r"a shape of sizes of at least 1; got \(0,\)"),
    ],
)
def test_errors_say_what_was_expected(make, text):
    with pytest.raises(ValueError, match=text):
        make()


# The pair


@pytest.mark.parametrize(
    ("likelihood", "reconstruction_loss"),
    [
        (Bernoulli((3, 4)), functional.binary_cross_entropy_with_logits),
        (Gaussian((3, 4), scale=0.5**0.5), functional.mse_loss),
    ],
)
def test_the_elbo_is_the_reconstruction_loss(likelihood, reconstruction_loss):
    pair, x = autoencoder(likelihood), patterns(10, (3, 4))
    elbo = Trace_ELBO().differentiable_loss(pair.model, pair.guide, x)
    loss = reconstruction_loss(pair.decoder(pair.encoder.network(x)), x, reduction="sum")
    # The squared error's own constant, for each pixel, is that of a normal density of variance one half.
    constant = x.numel() * 0.5 * math.log(math.pi) if isinstance(likelihood, Gaussian) else 0.0
    torch.testing.assert_close(elbo, loss + constant)
    gradients = [torch.autograd.grad(value, list(pair.parameters())) for value in (elbo, loss)]
    torch.testing.assert_close(*gradients)


def test_a_linear_autoencoder_finds_the_principal_components():
    linear = LinearGaussian(dim=6)
    x = sample(linear.model, torch.zeros(400, 6))[0]
    x = x - x.mean(0)
    left_over = torch.linalg.svdvals(x)[2:].square().sum().item() / len(x)
    pair = autoencoder(Gaussian(6, scale=0.5**0.5), network=functools.partial(MLP, hidden=()))
    result = fit(pair.model, pair.guide, x, epochs=800, batch_size=400, optimizer=adam(lr=0.01), progress=False)
    constant = 6 * 0.5 * math.log(math.pi)
    assert result.history[0]["loss"] - constant > 2 * left_over
    assert left_over * (1 - 1e-4) < Trace_ELBO().loss(pair.model, pair.guide, x) / len(x) - constant < 1.01 * left_over


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({}, "a flat one at site 'z': this model, an autoencoder, has no log p"),
        ({"encoder": GaussianEncoder}, "a flat one at site 'z'"),
        ({"prior": StandardNormal}, "site 'z' is a point mass"),
    ],
)
def test_there_is_no_log_p_of_x(parts, text):
    pair, x = autoencoder(Bernoulli((3, 4)), **parts), patterns(10, (3, 4))
    with pytest.raises(ValueError, match=text):
        log_marginal(pair.model, pair.guide, x, num_samples=3, estimator="guide")


def test_delta_sites_with_noise_elsewhere_are_no_points():
    """As in Pyro's autoguides: an auxiliary site has the noise, and a Delta site hands its value on."""
    x = torch.tensor([0.3, -1.0])

    def model(x):
        with pyro.plate("data", len(x), dim=-1):
            pyro.sample("x", dist.Normal(pyro.sample("z", dist.Normal(0.0, 1.0)), 1.0), obs=x)

    def guide(x):  # the exact posterior
        with pyro.plate("data", len(x), dim=-1):
            noise = pyro.sample("noise", dist.Normal(x / 2, 0.5**0.5), infer={"is_auxiliary": True})
            pyro.sample("z", dist.Delta(noise))

    truth = dist.Normal(0.0, 2.0**0.5).log_prob(x).double()
    torch.testing.assert_close(
        log_marginal(model, guide, x, num_samples=2, estimator="guide").log_prob, truth, atol=1e-5, rtol=0
    )


def test_from_the_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    out = str(tmp_path / "run")
    parts = ["--prior", "FlatPrior", "--encoder", "PointEncoder", "--network", "MLP", "--network.hidden", "[8]"]
    main(["train", *parts, "--epochs", "1", "--latent-dim", "2", "--out", out])
    assert "hardly matter" not in capsys.readouterr().out  # its rate is 0 because it has none
    main(["reconstruct", out, "--num-images", "8"])
    for command, text in (("evaluate", "has no log p(x)"), ("sample", "An autoencoder has no samples")):
        with pytest.raises(SystemExit):
            main([command, out])
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert text in line


# The experiments


@pytest.mark.experiment
@pytest.mark.parametrize("name", NAMES)
def test_smoke(name, tmp_path, monkeypatch, capsys):
    monkeypatch.syspath_prepend(EXPERIMENTS)
    monkeypatch.setattr(sys, "argv", [name, "--smoke", "--out", str(tmp_path)])
    runpy.run_path(str(EXPERIMENTS / f"{name}.py"), run_name="__main__")
    result = json.loads((tmp_path / f"{name}.json").read_text())
    assert result["smoke"]
    check(result, tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_the_result_is_complete(name):
    result = json.loads((EXPERIMENTS / "results" / f"{name}.json").read_text())
    assert not result["smoke"]
    assert result["command"].startswith(f"python experiments/autoencoders/{name}.py --root ")
    assert all("MNIST" in protocol for protocol in result["protocols"].values())
    check(result, EXPERIMENTS / "results" / name)


def check(result, folder):
    """Everything that a result must hold, and what an autoencoder must not."""
    assert {"question", "command", "protocols", "versions", "device", "threads", "date", "minutes"} <= set(result)
    assert result["figures"]
    for figure in result["figures"]:
        assert 0 < (folder / figure).stat().st_size < LARGEST, figure
    for row in result["rows"]:
        assert 0 < row["squared_error"] < 0.3
        assert -1 <= row["ssim"] <= 1
        assert row["frechet_reconstructions"] > 0
        has_evidence = row["model"].startswith(("VAE", "beta-VAE", "convolutional"))
        assert (row.get("log_marginal") is not None) == has_evidence, row["model"]
        if has_evidence:
            assert row["frechet_samples"] > 0
            assert row["log_marginal"]["mean"] > row["test_elbo"] - 5 * row["log_marginal"]["standard_error"]


def test_each_experiment_is_listed():
    readme = (EXPERIMENTS.parent / "README.md").read_text()
    assert len(NAMES) == 13
    for name in NAMES:
        assert f"`python experiments/autoencoders/{name}.py" in readme, name
