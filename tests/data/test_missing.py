"""Data with missing values, and grey levels with noise inside them: from the file to bits per dimension."""

import math

import numpy as np
import pytest
import safetensors.torch
import torch

from pyro_vae import GaussianEncoder, Masked, VampPrior, ZeroImputed, bits_per_dim
from pyro_vae.commands.main import main
from pyro_vae.data import Data, array_file, binarize, dequantized, digits, load
from pyro_vae.evidence.bits import bits_of, said_in_bits
from pyro_vae.runs import parts as settings

SMALL = ["--epochs", "2", "--latent-dim", "3", "--network", "MLP", "--network.hidden", "[16]"]


@pytest.fixture
def holes(tmp_path):
    """A file of grey images, a quarter of their pixels missing, the first in all of them."""
    x = torch.cat(digits().splits)[:400]
    x[torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) < 0.25] = math.nan
    x[:, 0, 0, 0] = math.nan
    np.save(tmp_path / "holes.npy", x.numpy())
    return tmp_path / "holes.npy"


@pytest.mark.parametrize("binarization", ["none", "threshold", "static", "dynamic"])
def test_binarization_leaves_holes_where_they_are(holes, binarization):
    grey, data = (array_file(holes, missing=True, binarization=how) for how in ("none", binarization))
    for before, after in zip(grey.splits, data.splits, strict=True):
        assert torch.equal(before.isnan(), after.isnan())
    seen = data.train if data.batch_transform is None else data.batch_transform(data.train)
    assert torch.equal(seen.isnan(), grey.train.isnan())
    if binarization != "none":
        known = seen[~seen.isnan()]
        assert ((known == 0) | (known == 1)).all()
        assert abs(known.mean() - grey.train.nanmean()) < 0.05
    count = sum(int(x.isnan().sum()) for x in data.splits)
    assert f"{count:,} of {400 * 64:,} values missing, log p is that of the others" in data.protocol
    if binarization == "none":  # all of them, once
        assert f"; {count:,} of {400 * 64:,} values" in array_file(holes, missing=True, order="whole").protocol


def test_the_mean_is_that_of_the_known_values(holes):
    data = array_file(holes, missing=True)
    assert data.mean[0, 0, 0] == data.train.nanmean()  # never seen: the mean of all others
    torch.testing.assert_close(data.mean[0, 3, 4], data.train[:, 0, 3, 4].nanmean())
    assert torch.equal(digits().mean, digits().train.mean(0))


def test_holes_are_refused_unasked(holes, tmp_path):
    with pytest.raises(ValueError, match=r"got .* NaN or infinite.*where NaN marks what is missing, add missing=True"):
        array_file(holes)
    with pytest.raises(ValueError, match=r"Expected a file of arrays or a table, where NaN can mark.*got 'digits'"):
        load("digits", missing=True)
    x = np.load(holes)
    x[0, 0, 1, 1] = math.inf
    np.save(tmp_path / "inf.npy", x)
    with pytest.raises(ValueError, match=r"got 1 infinite among [\d,]+\. Repair or drop those items\."):
        array_file(tmp_path / "inf.npy", missing=True)


def build(**parts):
    names = {"model": "VAE", "prior": "VampPrior", "encoder": "GaussianEncoder", "network": "MLP"}
    chosen = {part: {"class_path": name} for part, name in (names | {"likelihood": "Bernoulli"} | parts).items()}
    x = torch.full((20, 1, 4, 4), 0.5)
    return settings.build(chosen, event_shape=(1, 4, 4), latent_dim=3, mean=x[0], pseudo_inputs=x, seed=0, missing=True)


def test_likelihood_and_encoder_of_a_run_take_holes():
    vae = build()
    assert isinstance(vae.likelihood, Masked)
    assert isinstance(vae.encoder, ZeroImputed)
    assert isinstance(vae.encoder.encoder, GaussianEncoder)
    assert isinstance(vae.prior, VampPrior)
    assert vae.prior.encoder is vae.encoder
    with pytest.raises(ValueError, match=r"In the likelihood, PixelCNN: .*Expected independent values"):
        build(likelihood="PixelCNN")


def run(capsys, *arguments):
    capsys.readouterr()
    main([*map(str, arguments)])
    return capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
def test_a_run_on_images_with_holes(holes, tmp_path, capsys):
    folder = tmp_path / "run"
    prior = ["--prior", "VampPrior", "--prior.num_components", 5]
    assert "values missing" in run(capsys, "train", "--data", holes, "--missing", *prior, *SMALL, "--out", folder)
    weights = safetensors.torch.load_file(folder / "weights.safetensors")
    assert all(tensor.isfinite().all() for tensor in weights.values())  # pseudo-inputs start without holes
    out = run(capsys, "evaluate", folder, "--num-samples", 20, "--num-images", 10)
    log_prob, bits = (float(out.split(before)[1].split()[0]) for before in ("log p(x) = ", "bits   "))
    assert 0.5 < bits * 64 * math.log(2) * 0.75 / -log_prob < 2  # of the 3/4 that are observed
    run(capsys, "reconstruct", folder, "--num-images", 4)
    run(capsys, "diagnose", folder, "--num-images", 4, "--num-samples", 2, "--num-pool", 0)


# Dequantization


def test_noise_stays_within_the_level():
    grey, data = digits(), dequantized(digits(), seed=3)
    seen = data.batch_transform(data.train)
    for before, after in [(grey.train, seen), (grey.test, data.test), (grey.validation, data.validation)]:
        assert torch.equal((after * 17).floor(), (before * 16).round())
    noise = (seen * 17) % 1
    assert abs(noise.mean() - 0.5) < 5 / math.sqrt(12 * noise.numel())
    assert torch.equal(data.train, grey.train)
    assert not torch.equal(data.batch_transform(data.train), seen)
    assert torch.equal(dequantized(digits(), seed=3).test, data.test)
    error = 5 / math.sqrt(12 * len(seen)) / 17
    assert (data.mean - seen.mean(0)).abs().max() < error
    assert dequantized(load("digits"), seed=3).protocol.endswith(
        "dequantized: uniform noise within each of 17 grey levels, training redrawn at each visit, validation and "
        "test drawn once with seed 3"
    )


def test_what_is_no_grey_level_is_not_dequantized(tmp_path):
    for array in (np.linspace(-1, 1, 60, dtype=np.float32).reshape(20, 3), np.eye(20, dtype=np.uint8)):
        np.save(tmp_path / "own.npy", array)
        with pytest.raises(
            ValueError, match=r"Expected grey levels to dequantize; got own, .*leave dequantization out"
        ):
            dequantized(load(tmp_path / "own.npy"))
    with pytest.raises(ValueError, match="Expected grey levels to dequantize"):
        dequantized(binarize(digits(), "threshold"))


@pytest.mark.filterwarnings("ignore::pyro_vae.HeavyTail")
def test_a_run_on_dequantized_images(tmp_path, capsys):
    folder = tmp_path / "run"
    run(capsys, "train", "--likelihood", "Beta", "--dequantize", *SMALL, "--out", folder)
    out = run(capsys, "evaluate", folder, "--num-samples", 20, "--num-images", 10)
    log_prob, bits = (float(out.split(before)[1].split()[0]) for before in ("log p(x) = ", "bits   "))
    assert bits == pytest.approx(-log_prob / (64 * math.log(2)) + math.log2(17), abs=1e-3)
    assert "of the grey levels, at most (dequantized)" in out


def test_what_is_binarized_is_not_dequantized(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--dequantize", *map(str, SMALL), "--out", str(tmp_path / "run")])
    said = capsys.readouterr().err
    assert "Expected binarization 'none' to dequantize; got 'dynamic'. Use a likelihood of real values" in said


def test_bits_that_are_not_finite_are_not_said():
    about = {"bits_per_dim": None, "bits_per_dim_standard_error": None, "measure": "probability"}  # as JSON has them
    assert said_in_bits(about) == ""


def test_bits_count_what_is_observed():
    x = torch.zeros(3, 1, 2, 2)
    x[1, 0, 0] = math.nan
    x[2] = math.nan
    data = Data(name="x", train=x, validation=x, test=x, protocol="", missing=True)
    log_prob = -math.log(2) * torch.tensor([4.0, 6.0, 0.0])  # 1, 3 and no bits for each of 4, 2 and no values
    found = bits_of(log_prob, x, data, measure="probability", num_values=4)
    assert found["bits_per_dim"] == pytest.approx(4 / 3)
    assert found["bits_per_dim_standard_error"] == pytest.approx(torch.tensor([1.0, 3.0, 0.0]).std() / math.sqrt(3))
    assert bits_of(log_prob, x, data, measure="density", num_values=4) == {}
    grey = torch.zeros(300), digits().test, dequantized(digits())
    uniform = bits_of(*grey, measure="density", num_values=64)
    assert uniform == pytest.approx({"bits_per_dim": math.log2(17), "bits_per_dim_standard_error": 0.0})
    assert bits_per_dim(torch.zeros(1), 5, dequantized_levels=17) == pytest.approx(math.log2(17))
    # Labels beside the grey levels, as probabilities or on a scale of their own: no bits of grey levels.
    assert bits_of(*grey, measure="mixed", num_values=65) == bits_of(*grey, measure="density", num_values=65) == {}


def test_an_exposure_takes_no_bits(tmp_path, capsys):
    counts = np.random.default_rng(0).poisson(2.0, (100, 4))
    np.save(tmp_path / "counts.npy", np.concatenate([counts, 1 + counts.sum(1, keepdims=True)], 1).astype(np.float32))
    words = ["--data", tmp_path / "counts.npy", "--likelihood", "ZeroInflatedNegativeBinomial"]
    words += ["--likelihood.exposure", "true"]
    run(capsys, "train", *words, *SMALL, "--out", tmp_path / "run")
    out = run(capsys, "evaluate", tmp_path / "run", "--num-samples", 20)
    log_prob, bits = (float(out.split(before)[1].split()[0]) for before in ("log p(x) = ", "bits   "))
    assert bits == pytest.approx(-log_prob / (4 * math.log(2)), abs=1e-3)
