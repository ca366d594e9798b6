"""`pyro-vae restore`: what a mask, noise or coarse pixels have taken, or one line that says why not."""

import sys

import numpy as np
import pandas
import pytest

from pyro_vae import data
from pyro_vae.commands.main import main

SMALL = ["--epochs", "2", "--latent-dim", "3", "--network", "MLP", "--network.hidden", "[8]", "--compile", "false"]
FEW = ["--num-images", "3", "--num-samples", "2", "--num-proposals", "10", "--num-transitions", "4"]
pytestmark = pytest.mark.filterwarnings("ignore:k-hat is above")  # hardly trained


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run on few digits, binarized, and one on their grey levels; masks and damaged files."""
    folder = tmp_path_factory.mktemp("restored")
    digits = data.load("digits")
    splits = {name: x[:20].numpy() for name, x in digits.splits._asdict().items()}
    np.savez(folder / "few.npz", **splits)
    own = ["--data", str(folder / "few.npz")]
    main(["train", *SMALL, *own, "--out", str(folder / "binary")])
    main(["train", *SMALL, *own, "--likelihood", "Gaussian", "--out", str(folder / "grey")])
    np.savez(folder / "three.npz", images=np.zeros((20, 8, 8)), labels=np.arange(20))
    rows = np.ones((8, 8))
    rows[4:] = 0
    np.save(folder / "rows.npy", rows)
    np.save(folder / "wrong.npy", np.ones((7, 8)))
    holes = splits["test"][:4].copy()
    holes[:, :, 4:] = np.nan
    np.save(folder / "holes.npy", holes)
    rows_of_holes = holes.reshape(4, 64)
    columns = [f"c{i}" for i in range(64)]
    pandas.DataFrame(rows_of_holes, columns=columns).to_csv(folder / "holes.csv", index=False)
    flat = np.concatenate([splits["train"], splits["test"]]).reshape(40, 64)
    flat[:, 40:44] = np.nan
    pandas.DataFrame(flat, columns=columns).to_csv(folder / "table.csv", index=False)
    table = ["--data", str(folder / "table.csv"), "--missing", "--likelihood", "Gaussian"]
    main(["train", *SMALL, *table, "--out", str(folder / "missing")])
    np.save(folder / "coarse.npy", holes[:, :, :4, :4].round())
    return folder


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def arrays_of(path):
    with np.load(path) as found:  # closed at once: a garbage collector that closes it warns
        return dict(found)


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        main(["restore", *map(str, arguments)])
    assert stopped.value.code == 2
    return capsys.readouterr().err.strip().splitlines()[-1]


@pytest.mark.parametrize("damage", [["--mask", "0.4"], ["--noise", "0.3"], ["--downsample", "2"]], ids=lambda d: d[0])
def test_each_damage_with_its_error(runs, capsys, damage):
    main(["restore", str(runs / "binary"), *damage, *FEW, "-o", "found.npz"])
    out = capsys.readouterr().out
    assert "a random 3 (seed 0) of: test split of few.npz" in out
    assert "effective sample size from" in out
    assert "acceptance" in out
    assert ("log p(missing|known)" in out) == (damage[0] == "--mask")
    found = arrays_of("found.npz")
    assert found["samples"].shape == (3, 2, 1, 8, 8)
    np.testing.assert_allclose(found["restored"], found["samples"].mean(1), atol=1e-6)
    error = (
        ((found["restored"] - found["originals"]) ** 2)[np.isnan(found["damaged"])]
        if "--mask" in damage
        else (found["restored"] - found["originals"]) ** 2
    )
    assert f"squared error         {error.mean():.4f}" in out
    assert found["damaged"].shape[-1] == (4 if damage[0] == "--downsample" else 8)


@pytest.mark.drawn
def test_a_mask_of_a_file_and_a_picture(runs):
    main(["restore", str(runs / "grey"), "--mask", str(runs / "rows.npy"), *FEW, "-o", "found.npz"])
    found = arrays_of("found.npz")
    assert np.isnan(found["damaged"][:, :, 4:]).all()
    np.testing.assert_allclose(found["restored"][:, :, :4], found["originals"][:, :, :4], atol=1e-6)
    main(["restore", str(runs / "grey"), "--downsample", "2", *FEW])
    assert (runs / "grey" / "restored.png").read_bytes()[:4] == b"\x89PNG"


def test_files_that_are_damaged_already(runs, capsys):
    damaged = ["--damaged", "--mask", runs / "rows.npy", *FEW, "-o", "a.npz"]
    main(["restore", str(runs / "grey"), str(runs / "holes.npy"), *map(str, damaged)])
    assert "squared error" not in capsys.readouterr().out
    assert "originals" not in arrays_of("a.npz")
    main(
        [
            "restore",
            str(runs / "binary"),
            str(runs / "coarse.npy"),
            "--damaged",
            "--downsample",
            "2",
            *FEW,
            "-o",
            "b.npz",
        ]
    )
    assert arrays_of("b.npz")["restored"].shape == (3, 1, 8, 8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "or NaN in the data where values are missing; got none."),
        (["--mask", "0.5", "--noise", "1"], "got --mask and --noise."),
        (["--mask", "wrong.npy"], "Expected a mask of the shape of one data point, (1, 8, 8), or of all"),
        (["--mask", "nowhere.npy"], "Expected --mask to be a .npy file, or a share between 0 and 1; got nowhere.npy."),
        (["--mask", "1.5"], "Expected --mask to be a file, or a share between 0 and 1; got 1.5."),
        (["--noise", "0"], "Expected a finite scale > 0; got 0.0."),
        (["--downsample", "3"], "Expected images whose height and width 3 divides"),
        (["--noise", "1", "--num-samples", "0"], "Expected num_samples >= 1"),
        (["--noise", "1", "-o", "a.txt"], "Expected --out to be a file that ends in .png"),
        (["--noise", "1", "--damaged"], "Expected DATA with --damaged; got none."),
    ],
)
def test_bad_input_is_one_line(runs, capsys, monkeypatch, arguments, message):
    monkeypatch.chdir(runs)
    assert message in refused(capsys, runs / "binary", *FEW, *arguments)


def test_nan_marks_what_is_missing_without_a_mask(runs):
    """Of a run on whole data, in arrays; the same numbers as with a mask that says so."""
    for mask, out in ([], "a.npz"), (["--mask", str(runs / "rows.npy")], "b.npz"):
        main(["restore", str(runs / "grey"), str(runs / "holes.npy"), "--damaged", *mask, *FEW, "-o", out])
    a, b = arrays_of("a.npz"), arrays_of("b.npz")
    assert np.isnan(a["damaged"]).mean() == 0.5
    np.testing.assert_array_equal(a["restored"][~np.isnan(a["damaged"])], a["damaged"][~np.isnan(a["damaged"])])
    assert np.isfinite(a["restored"]).all()
    assert np.isnan(b["damaged"]).mean() == 0.5


def test_a_run_that_was_trained_with_missing_values(runs, capsys):
    """Its own data, tables that it is given, and a mask on top of what is missing already; the means as a table."""
    main(["restore", str(runs / "missing"), *FEW, "-o", "own.csv"])
    assert "6% of the values missing" in capsys.readouterr().out
    own = pandas.read_csv("own.csv")
    assert list(own) == ["id", *(f"c{i}" for i in range(64))]
    assert len(own) == 3
    assert own.notna().all(axis=None)
    damaged = ["restore", str(runs / "missing"), str(runs / "holes.csv"), "--damaged", *FEW]
    main([*damaged, "-o", "table.csv"])
    main([*damaged, "-o", "table.npz"])
    table, arrays = pandas.read_csv("table.csv"), arrays_of("table.npz")
    np.testing.assert_allclose(table.iloc[:, 1:], arrays["restored"], rtol=1e-5)
    holes = pandas.read_csv(runs / "holes.csv").iloc[table["id"]]
    known = holes.notna().to_numpy()
    np.testing.assert_allclose(table.iloc[:, 1:].to_numpy()[known], holes.to_numpy()[known], rtol=1e-5)
    turned = [f"c{i}" for i in reversed(range(64))]
    pandas.read_csv(runs / "holes.csv")[turned].to_csv("turned.csv", index=False)
    main(["restore", str(runs / "missing"), "turned.csv", "--damaged", *FEW, "-o", "again.csv"])
    pandas.testing.assert_frame_equal(pandas.read_csv("again.csv"), table)
    capsys.readouterr()
    main(["restore", str(runs / "missing"), "--mask", "0.4", *FEW, "-o", "mask.npz"])
    out, found = capsys.readouterr().out, arrays_of("mask.npz")
    left_out = np.isnan(found["damaged"]) & ~np.isnan(found["originals"])
    error = ((found["restored"] - found["originals"]) ** 2)[left_out]
    assert f"squared error         {error.mean():.4f} a missing value" in out
    assert "log p(missing|known)" in out
    assert "nan" not in out
    assert "Expected no missing values under --noise; got 16 NaN" in refused(
        capsys, runs / "missing", "--noise", 1, *FEW
    )


def test_what_is_known_must_be_possible(runs, capsys):
    """Grey values cannot be known of binary pixels."""
    arguments = [runs / "binary", runs / "holes.npy", "--damaged", "--mask", runs / "rows.npy", *FEW]
    assert "in the support of a Bernoulli" in refused(capsys, *arguments)
