"""`pyro-vae encode`: codes of a run's own data and of others, as tables and arrays, or one line that says why not."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pyro_vae import load
from pyro_vae.commands.main import main


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoded")
    small = ["--epochs", "1", "--latent-dim", "3", "--network", "MLP", "--network.hidden", "[8]", "--compile", "false"]
    main(["train", *small, "--out", str(folder / "digits")])
    np.save(folder / "flat.npy", np.random.default_rng(0).integers(0, 2, (40, 6)).astype(np.float32))
    flow = ["--encoder", "IAF", "--encoder.num_transforms", "1", "--binarization", "none"]
    main(["train", *small, *flow, "--data", str(folder / "flat.npy"), "--out", str(folder / "flow")])
    return folder


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def columns(table, kind):
    return table[[name for name in table if name.startswith(f"z_{kind}_")]].to_numpy()


@pytest.mark.parametrize(("suffix", "read"), [("parquet", pd.read_parquet), ("csv", pd.read_csv)])
def test_a_table_has_means_scales_ids_and_labels(runs, suffix, read):
    main(["encode", str(runs / "digits"), "-o", f"codes.{suffix}"])
    table, run = read(f"codes.{suffix}"), load(runs / "digits")
    with torch.no_grad():
        q = run.module.encoder(run.data.test)
    assert list(table)[:3] == ["id", "label", "z_mean_0"]
    assert table["id"].tolist() == [*range(300)]
    assert table["label"].tolist() == run.data.labels.test.tolist()
    np.testing.assert_allclose(columns(table, "mean"), q.mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(columns(table, "scale"), q.stddev, rtol=1e-4)
    if suffix == "parquet":
        assert table.attrs["data"] == f"test split of {run.data.protocol}"
        assert len(table.attrs["weights_sha256"]) == 64


def test_training_data_are_encoded_as_training_sees_them(runs):
    """Binarized, though the grey ones are kept."""
    main(["encode", str(runs / "digits"), "--split", "train", "-o", "codes.npz"])
    run = load(runs / "digits")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        binary = run.data.batch_transform(run.data.train)
    with np.load("codes.npz") as saved, torch.no_grad():
        q = run.module.encoder(binary)
        np.testing.assert_allclose(saved["z"], q.mean, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(saved["z.scale"], q.stddev, rtol=1e-4)
        assert np.array_equal(saved["labels"], run.data.labels.train)


def test_a_file_is_encoded_whole_and_in_its_order(runs):
    x = np.random.default_rng(1).integers(0, 2, (7, 8, 8)).astype(np.float32)  # fewer than can be split
    np.save("seven.npy", x)
    main(["encode", str(runs / "digits"), "seven.npy", "-o", "codes.tsv"])
    table = pd.read_csv("codes.tsv", sep="\t")
    with torch.no_grad():
        expected = load(runs / "digits").module.encoder(torch.from_numpy(x)[:, None]).mean
    np.testing.assert_allclose(columns(table, "mean"), expected, rtol=1e-4, atol=1e-6)
    assert "label" not in table


def test_a_folder_of_classes_brings_its_labels(runs):
    for name, level in (("a", 0), ("b", 255)):
        for i in range(2):
            (folder := runs / "images" / name).mkdir(parents=True, exist_ok=True)
            Image.new("L", (8, 8), level).save(folder / f"{i}.png")
    main(["encode", str(runs / "digits"), str(runs / "images"), "-o", "codes.parquet"])
    table = pd.read_parquet("codes.parquet")
    assert table["label"].tolist() == ["a", "a", "b", "b"]
    assert "all 4, not split" in table.attrs["data"]
    assert table.loc[0, "z_mean_0"] == table.loc[1, "z_mean_0"] != table.loc[2, "z_mean_0"]


def test_a_guide_without_scales_says_so(runs, capsys):
    main(["encode", str(runs / "flow"), "-o", "codes.csv"])
    assert "q at z has no scale in closed form: it is left out" in capsys.readouterr().out
    assert list(pd.read_csv("codes.csv")) == ["id", "row", "z_mean_0", "z_mean_1", "z_mean_2"]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["digits", "seven.npy", "-o", "c.csv"], "Expected data points of shape (1, 8, 8), as "),
        (["digits", "loud.npy", "-o", "c.csv"], "Expected pixels in [0, 1] to binarize 'loud'; got values in ["),
        (["flow", "grey.npy", "-o", "c.csv"], "Expected data in the support of site 'x', 0 or 1; got values such as"),
        (["digits", "none.npy", "-o", "c.csv"], "Expected 'none' of shape (N, D) or (N, C, H, W) with N >= 1; got (0,"),
        (["digits", "empty.npy", "-o", "c.csv"], "Expected a complete NumPy file of plain numbers at empty.npy;"),
        (["digits", "nothing.npy"], "Expected an .npy or .npz file at nothing.npy; got no such file."),
        (["digits", "minst"], "got 'minst', which is none of them. Did you mean mnist?"),
        (["digits", "-o", "c.xlsx"], "Expected --out to be a file that ends in .parquet, .csv, .tsv, .npz, .npy; got"),
        (["digits", "-o", "there.csv"], "Expected a new file; there.csv is there already. Add --overwrite"),
        (["digits", "--split", "all"], "Expected --split to be train or validation or test; got all."),
    ],
)
def test_what_cannot_be_encoded_is_one_line(runs, words, text, capsys):
    random = np.random.default_rng(2)
    np.save("seven.npy", random.integers(0, 2, (7, 7, 7)).astype(np.float32))
    np.save("loud.npy", 200 * random.random((7, 8, 8), dtype=np.float32))
    np.save("grey.npy", random.random((5, 6), dtype=np.float32))
    np.save("none.npy", np.zeros((0, 8, 8), np.float32))
    for name in ("empty.npy", "there.csv"):
        open(name, "w").close()
    folder, *rest = words
    with pytest.raises(SystemExit) as stopped:
        main(["encode", str(runs / folder), *rest])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 2
    assert text in line


@pytest.fixture(scope="module")
def genes(tmp_path_factory):
    """A run on a table, and that table in another order of its columns, and with other names."""
    folder = tmp_path_factory.mktemp("genes")
    counts = pd.DataFrame(np.random.default_rng(0).poisson([1.0, 4.0, 9.0, 2.0], (30, 4)), columns=list("abcd"))
    counts.to_csv(folder / "counts.csv", index_label="cell")
    counts[list("dbac")].to_csv(folder / "turned.csv")
    counts[list("dbac")].to_parquet(folder / "turned.parquet", index=False)
    counts.rename(columns={"c": "C"}).to_csv(folder / "renamed.csv")
    small = ["--epochs", "1", "--latent-dim", "2", "--network", "MLP", "--network.hidden", "[8]", "--compile", "false"]
    own = ["--data", str(folder / "counts.csv"), "--likelihood", "Poisson"]
    main(["train", *small, *own, "--out", str(folder / "run")])
    return folder


@pytest.mark.parametrize("name", ["turned.csv", "turned.parquet"])
def test_columns_of_a_table_are_brought_into_the_order_of_the_run(genes, name):
    for given, out in (("counts.csv", "codes.npz"), (name, "turned.npz")):
        main(["encode", str(genes / "run"), str(genes / given), "-o", out])
    assert load(genes / "run").about["columns"] == list("abcd")
    with np.load("codes.npz") as codes, np.load("turned.npz") as turned:
        assert codes["z"].std() > 0
        assert np.array_equal(codes["z"], turned["z"])


@pytest.mark.parametrize(
    "words",
    [["encode"], ["score"], ["restore", "--mask", "0.5"], ["restore", "--damaged", "--mask", "0.5"], ["compress"]],
    ids=" ".join,
)
def test_columns_of_other_names_are_one_line(genes, words, capsys):
    command, *options = words
    with pytest.raises(SystemExit):
        main(
            [
                command,
                str(genes / "run"),
                str(genes / "renamed.csv"),
                *options,
                "--out",
                "out.csv" if command == "score" else "out.npz",
            ]
        )
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "4 columns, from a to d, in any order; got a table without c and with C. Give" in line
