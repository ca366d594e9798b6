"""`pyro-vae score`: a table of scores with their errors, curves where anomalies are known, or one line that says why
not."""

import csv
import json
import sys

import numpy as np
import pytest
import torch

from pyro_vae import data, load, score
from pyro_vae.commands.main import main

pytestmark = pytest.mark.filterwarnings("ignore:log p.x. is not to be trusted")  # so few samples, hardly trained
SMALL = ["--epochs", "2", "--latent-dim", "3", "--network", "MLP", "--network.hidden", "[8]", "--compile", "false"]
FEW = ["--num-samples", "10"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two runs on few digits that differ in the seed, one of grey levels, and noise with labels."""
    folder = tmp_path_factory.mktemp("scored")
    digits, names = data.load("digits"), ("train", "validation", "test")
    few = {f"{name}_images": getattr(digits, name)[:30].numpy() for name in names}
    np.savez(folder / "few.npz", **few, **{f"{n}_labels": getattr(digits.labels, n)[:30].numpy() for n in names})
    own = ["--data", str(folder / "few.npz")]
    for seed in ("0", "1"):
        main(["train", *SMALL, *own, "--seed", seed, "--out", str(folder / seed)])
    main(["train", *SMALL, *own, "--likelihood", "Gaussian", "--out", str(folder / "grey")])
    noise = np.random.default_rng(0).integers(0, 2, (12, 8, 8)).astype(np.uint8)
    np.savez(folder / "noise.npz", images=noise, labels=np.arange(12) % 3)
    return folder


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def rows_of(path):
    with open(path) as file:
        return list(csv.DictReader(file))


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["score", *map(str, arguments)])
    assert stopped.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


def test_all_of_a_file_is_scored_in_its_order(runs):
    main(["score", str(runs / "0"), str(runs / "noise.npz"), *FEW, "-o", "found/scores.csv"])
    rows, run = rows_of("found/scores.csv"), load(runs / "0")
    x = torch.from_numpy(np.load(runs / "noise.npz")["images"]).float()[:, None]
    wanted = score(run.model, run.guide, x, num_samples=10)
    assert [row["id"] for row in rows] == [str(i) for i in range(12)]
    assert [row["label"] for row in rows] == [str(i % 3) for i in range(12)]
    for name in ("negative_log_prob", "negative_elbo", "rate_error"):
        np.testing.assert_allclose([float(row[name]) for row in rows], wanted.columns()[name], rtol=1e-4)
    with open("found/scores.json") as file:
        about = json.load(file)
    assert about["protocol"] == [
        "noise.npz, uint8 values as stored; all 12, not split; labels of 3 classes; pixels are 0 or 1 as stored, not "
        "binarized again"
    ]
    assert {"command", "versions", "device", "date", "num_samples"} <= set(about)
    assert about["detection"] == {}


@pytest.mark.drawn
def test_curves_where_anomalies_are_known(runs, capsys):
    more = ["--background", str(runs / "1"), "--also", str(runs / "1")]
    assert "got the same weights" in refused(capsys, runs / "0", *more)
    main(["score", str(runs / "0"), str(runs / "noise.npz"), "--against-test", "--num-images", "10", *more[:2], *FEW])
    rows = rows_of(runs / "0" / "scores.csv")
    assert [row["anomalous"] for row in rows] == ["1"] * 10 + ["0"] * 10
    assert {row["data"] for row in rows[10:]} == {"own test data"}
    assert "likelihood_ratio" in rows[0]
    out = capsys.readouterr().out
    assert "a random 10 (seed 0) of: test split of few.npz" in out
    with open(runs / "0" / "scores.json") as file:
        auc = json.load(file)["detection"]["negative_log_prob"]["auc"]
    assert auc["value"] == 1  # noise is unlike digits
    assert f"negative_log_prob  1.000 [{auc['low']:.3f}, {auc['high']:.3f}]" in out
    assert (runs / "0" / "scores.png").read_bytes()[:4] == b"\x89PNG"
    main(["score", str(runs / "0"), *FEW, "--num-images", "9", "--anomalies", "4", "7", "-o", "labels.csv"])
    labels = {row["label"]: row["anomalous"] for row in rows_of("labels.csv")}
    assert {label for label, anomalous in labels.items() if anomalous == "1"} <= {"4", "7"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shape.npy"], "Expected data points of shape (1, 8, 8)"),
        (["loud.npy"], "Expected pixels in [0, 1] to binarize"),
        (["empty.npy"], "Expected 'empty' of shape (N, D) or (N, C, H, W) with N >= 1; got (0, 1, 8, 8)."),
        (["nowhere.npy"], "got no such file"),
        (["--against-test"], "with DATA that are all anomalies; got it with no DATA"),
        (["--anomalies", "11"], "Expected a class among the labels of few, 0, 1, 3"),
        (["--num-images", "0"], "Expected --num-images from 1 to 30"),
        (["--num-samples", "0"], "Expected num_samples >= 1"),
        (["-o", "scores.txt"], "Expected --out to be a file that ends in .csv; got scores.txt."),
        (["--also", "nowhere"], "there is no folder nowhere"),
    ],
)
def test_bad_input_is_one_line(runs, capsys, arguments, message):
    np.save("shape.npy", np.zeros((3, 9, 9), dtype=np.uint8))
    np.save("loud.npy", np.full((3, 8, 8), 200.0))
    np.save("empty.npy", np.zeros((0, 8, 8), dtype=np.uint8))
    assert message in refused(capsys, runs / "0", *arguments)


def test_other_scales_and_other_densities_are_refused(runs, capsys):
    np.save("loud.npy", np.full((3, 8, 8), 200.0))
    assert "Expected values in [0, 1], as those that" in refused(capsys, runs / "grey", "loud.npy")
    few = ["--num-images", "3", *FEW]
    assert "background to be a model of the same kind of data, a probability of {'x': 64}; got a density" in refused(
        capsys, runs / "0", "--background", runs / "grey", *few
    )
    main(["score", str(runs / "0"), *few, "-o", "there.csv"])
    assert "is there already" in refused(capsys, runs / "0", *few, "-o", "there.csv")
